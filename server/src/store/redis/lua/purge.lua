-- Forgets finished jobs whose time has come, and old events.
--
-- Arguments: limit, the stream id before which events are forgotten.
-- Reply: how many jobs.
-- Touches: finished, job and details keys, events.
local limit, oldest = tonumber(take()), take()

local count = 0
for _, zset in pairs(key.finished) do
  local ids = redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, limit - count)
  if #ids > 0 then
    local names = {}
    for _, id in ipairs(ids) do
      names[#names + 1] = job_key(id)
      names[#names + 1] = details_key(id)
    end
    redis.call('UNLINK', unpack(names))
    redis.call('ZREM', zset, unpack(ids))
    count = count + #ids
  end
end
redis.call('XTRIM', key.events, 'MINID', '~', oldest)
return count
