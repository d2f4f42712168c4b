-- Drops the two oldest entries of a log if what they tell is ?2 or earlier in the count of events.
-- Two, so that a log that grows by one entry a call comes down to its size.
delete from event where upto <= ?2 and event in (
  select event from event where queue = ?1 order by at, number limit 2
)
