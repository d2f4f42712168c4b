from job j join spec s using (job) left join detail d using (job)
where j.job = ?1
