-- Those jobs of a remembered claim that are still under its leases, in the order taken.
from replay r
cross join json_each(r.jobs) taken
cross join job j on j.job = taken.value
cross join spec s using (job)
left join detail d using (job)
where r.queue = ?1 and r.id = ?2
  and j.queue = ?1 and j.state = 'L' and j.secret = r.secret
order by taken.key
