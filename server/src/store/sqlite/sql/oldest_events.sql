-- The two oldest entries of a log, and how far they tell in the count of events.
select event, upto from event where queue = ?1 order by at, number limit 2
