-- Leases jobs: `leases` and `deadlines` are what the commands take, `soonest` is the first of the
-- deadlines. It is told if no look at the queue stands that comes before it, as `is_news`.
redis.call('HSET', KEYS[6], unpack(leases))
local is_spread = #deadlines >= 16
if is_spread then
  -- A small zset is packed, and read through for each member that is added; a long member spreads it.
  deadlines[#deadlines + 1], deadlines[#deadlines + 2] = 'inf', string.rep('_', 65)
end
redis.call('ZADD', KEYS[5], unpack(deadlines))
if is_spread then
  redis.call('ZREM', KEYS[5], deadlines[#deadlines])
end
local is_news = soonest < alarm or alarm <= tonumber(ARGV[6])
if is_news then
  alarm = soonest
  redis.call('PUBLISH', ARGV[4], string.format('%.0f', soonest) .. ' ' .. ARGV[2])
end
