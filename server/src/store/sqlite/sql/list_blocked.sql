from behind i cross join job j using (job) cross join spec s using (job) left join detail d using (job)
where i.queue = ?1 and (i.created, i.job) > (?2, ?3)
order by i.created asc, i.job asc
