from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = 'R' and j.priority < ?2
order by j.priority desc, j.place asc
