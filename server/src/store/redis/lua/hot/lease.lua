-- Leases jobs: `leases` and `deadlines` are what the commands take, `soonest` is the first of the
-- deadlines.
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
--@due
