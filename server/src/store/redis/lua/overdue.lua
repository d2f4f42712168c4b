-- Reads leased jobs whose visibility timeout has ended and pending jobs whose expiry has passed, each
-- kind earliest first.
--
-- Arguments: limit, bytes after which no more records are read.
-- Reply: jobs as job.lua's answer() makes them.
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
    local job = answer_of(id)
    if job then
      bytes = bytes - #job[2]
      jobs[#jobs + 1] = job
    end
  end
end
return jobs
