-- Reads leased jobs whose visibility timeout has ended and pending jobs whose expiry has passed, each
-- kind earliest first.
--
-- Arguments: limit, bytes after which no more records are read.
-- Reply: jobs as prelude's answer() makes them.
-- Touches nothing.
local limit, bytes = tonumber(take()), tonumber(take())

local jobs = {}
for _, zset in ipairs({ key.leased, key.expiring }) do
  local most = limit - #jobs
  local found = redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
  for i = 1, #found, 2 do
    if bytes <= 0 then
      break
    end
    local id = found[i]
    local record = redis.call('GET', job_key(id))
    if record then
      bytes = bytes - #record
      local lease = redis.call('HGET', key.leases, id)
      jobs[#jobs + 1] = answer(id, record, lease and found[i + 1], lease)
    end
  end
end
return jobs
