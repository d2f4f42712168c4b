-- Drops the oldest entry of a log if its number is ?2 or less.
delete from event where number <= ?2 and event = (
  select event from event where queue = ?1 order by at, number limit 1
)
