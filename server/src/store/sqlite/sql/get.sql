from job j join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.id = ?2
