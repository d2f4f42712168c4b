from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = ?2 and j.state <> 'R' and (j.at, j.id) > (?3, ?4)
order by j.at asc, j.id asc
