-- Pending jobs whose expiry has passed. cross join: as in overdue.sql.
from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.expires is not null and j.expires <= ?2
order by j.expires
