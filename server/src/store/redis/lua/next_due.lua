-- Tells when the next thing in a queue falls due.
--
-- Arguments: none.
-- Reply: the earliest time of all indexes, or nil.
-- Touches nothing.
local finished = key.finished
local earliest = nil
for _, zset in ipairs({
  key.scheduled, key.retrying, key.leased, key.expiring, finished.K, finished.D, finished.C,
  finished.E,
}) do
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2]
  if first and (not earliest or tonumber(first) < tonumber(earliest)) then
    earliest = first
  end
end
return earliest or false
