from term i cross join job j using (job) cross join spec s using (job) left join detail d using (job)
where i.queue = ?1 and i.name = ?2 and i.value = ?3 and (i.created, i.job) > (?4, ?5)
order by i.created asc, i.job asc
