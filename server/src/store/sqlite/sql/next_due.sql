-- One step into the index for each state that waits for its time, and one for expiries.
select min(at) from (
  select (
    select min(at) from job where queue = ?1 and state = waiting.column1 and state <> 'R'
  ) as at
  from (values ('S'), ('T'), ('L'), ('K'), ('D'), ('C'), ('E')) waiting
  union all
  select min(expires) from job where queue = ?1 and expires is not null
)
