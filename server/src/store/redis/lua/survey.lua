-- Tells a queue's counts and when its next job falls due.
--
-- Arguments: none.
-- Reply: scheduled, ready, leased, retrying, succeeded, dead, cancelled, expired, then the earliest
--   time of all indexes or ''.
-- Touches nothing.
local ready = 0
for _, priority in ipairs(redis.call('ZRANGE', key.priorities, 0, -1)) do
  ready = ready + redis.call('LLEN', base .. 'r:' .. priority)
end
local finished = key.finished
local zsets =
  { key.scheduled, key.leased, key.retrying, finished.K, finished.D, finished.C, finished.E }
local counts, earliest = {}, nil
for i, zset in ipairs(zsets) do
  counts[i] = redis.call('ZCARD', zset)
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2]
  if first and (not earliest or tonumber(first) < tonumber(earliest)) then
    earliest = first
  end
end
table.insert(counts, 2, ready)
table.insert(counts, earliest or '')
return counts
