-- Scheduled and retrying jobs whose time has come, earliest first.
select due.job, due.id, due.state, due.attempts, s.body
from (
  select * from (
    select job, id, state, at, attempts from job
    where queue = ?1 and state = 'S' and state <> 'R' and at <= ?2
    order by at, id
    limit ?3
  )
  union all
  select * from (
    select job, id, state, at, attempts from job
    where queue = ?1 and state = 'T' and state <> 'R' and at <= ?2
    order by at, id
    limit ?3
  )
) due
cross join spec s using (job)
order by due.at, due.id
limit ?3
