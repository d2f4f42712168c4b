-- The priorities that ready jobs have, each with its first and its last place: one step into the
-- index for each.
with recursive line (priority) as (
  select * from (
    select priority from job where queue = ?1 and state = 'R' order by priority desc limit 1
  )
  union all
  select (
    select priority from job
    where queue = ?1 and state = 'R' and priority < line.priority
    order by priority desc
    limit 1
  )
  from line
  where line.priority is not null
)
select
  priority,
  (
    select place from job
    where queue = ?1 and state = 'R' and priority = line.priority
    order by place
    limit 1
  ),
  (
    select place from job
    where queue = ?1 and state = 'R' and priority = line.priority
    order by place desc
    limit 1
  )
from line
where priority is not null
