-- Who holds a dedup key now, if the job of that id is still the one that took it.
select j.job, d.job, j.state, j.started is not null, s.body
from dedup d join job j on j.queue = d.queue and j.id = d.job join spec s on s.job = j.job
where d.queue = ?1 and d.key = ?2 and (d.until is null or d.until > ?3)
