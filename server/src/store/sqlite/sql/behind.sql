-- The job that waits behind another.
select j.job, j.id, j.at, s.body
from behind b join job j using (job) join spec s using (job)
where b.holder = ?1
