-- Since when the ready job waits that has waited longest, about: within a priority it is the first
-- of those that went to the back of the line or the last of those that went to its front.
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
),
candidate (at) as (
  select (
    select at from job
    where queue = ?1 and state = 'R' and priority = line.priority and place > 0
    order by place
    limit 1
  )
  from line
  union all
  select (
    select at from job
    where queue = ?1 and state = 'R' and priority = line.priority and place <= 0
    order by place desc
    limit 1
  )
  from line
)
select min(at) from candidate
