from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = 'R' and j.priority = ?2 and j.place > ?3
order by j.place asc
