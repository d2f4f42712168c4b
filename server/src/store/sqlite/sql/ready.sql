-- cross join: keeps the order of the index, so that reading can stop after any job.
from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = 'R'
order by j.priority desc, j.place
limit ?2
