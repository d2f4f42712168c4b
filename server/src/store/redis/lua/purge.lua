-- Forgets finished jobs whose time has come, stale entries in front of ready lists, and old events.
--
-- Arguments: limit, the stream id before which events are forgotten.
-- Reply: how many jobs.
-- Touches: finished, job and details keys, terms, ready lists, ledger, events.
local limit, oldest = tonumber(take()), take()

local number = 0
for _, zset in pairs(key.finished) do
  local ids = redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, limit - number)
  if #ids > 0 then
    forget(ids)
    redis.call('ZREM', zset, unpack(ids))
    number = number + #ids
  end
end

-- Claims drop stale entries too, but a queue may have none for long.
if has_flag('stale') then
  local left = limit
  for _, line in ipairs(redis.call('ZRANGE', key.lines, 0, 99)) do
    local stale = 0
    for _, entry in ipairs(redis.call('LRANGE', list_key(line), 0, left - 1)) do
      if is_valid(entry, read_job(string.sub(entry, entry_part.id))) then
        break
      end
      stale = stale + 1
    end
    if stale > 0 then
      redis.call('LTRIM', list_key(line), stale, -1)
      count('stale', -math.min(stale, ledger()[field.stale]))
    end
    if redis.call('EXISTS', list_key(line)) == 0 then
      redis.call('ZREM', key.lines, line)
    end
    left = left - stale
  end
  write_ledger()
end
redis.call('XTRIM', key.events, 'MINID', '~', oldest)
return number
