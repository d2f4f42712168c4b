-- Tells when the next thing in a queue falls due. Whoever asks looks again then, so an end of a lease
-- that comes later needs not be told: that time is the ledger's alarm. Whatever falls due sooner is told,
-- so all others look by then, too.
--
-- Arguments: none.
-- Reply: the earliest time of all indexes, or nil.
-- Touches: ledger.
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
if redis.call('EXISTS', key.ledger) == 1 then
  redis.call('SETRANGE', key.ledger, ledger_alarm, struct.pack('>d', earliest or 0))
end
return earliest or false
