-- The ready jobs in the order in which they are claimed, and when each expires. Without a limit, as
-- those that can't be claimed don't count: reading stops after any job. cross join: as in
-- overdue.sql.
  , j.expires
from job j cross join spec s using (job) left join detail d using (job)
where j.queue = ?1 and j.state = 'R'
order by j.priority desc, j.place
