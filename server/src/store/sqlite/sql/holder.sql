-- Who holds a dedup key now.
select j.job, d.job, j.state, j.started is not null
from dedup d join job j on j.queue = d.queue and j.id = d.job
where d.queue = ?1 and d.key = ?2 and (d.until is null or d.until > ?3)
