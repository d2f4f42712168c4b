-- One step into the index for each state that waits for its time.
select min((
  select min(at) from job where queue = ?1 and state = waiting.column1 and state <> 'R'
))
from (values ('S'), ('T'), ('L'), ('K'), ('D'), ('C'), ('E')) waiting
