-- Reads leased jobs whose visibility timeout has ended, earliest first.
--
-- Arguments: limit, bytes after which no more records are read.
-- Reply: jobs as prelude's answer() makes them.
-- Touches nothing.
local limit, bytes = take(), tonumber(take())
local found =
  redis.call('ZRANGEBYSCORE', key.leased, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local jobs = {}
for i = 1, #found, 2 do
  if bytes <= 0 then
    break
  end
  local id = found[i]
  local record = redis.call('GET', job_key(id))
  if record then
    bytes = bytes - #record
    jobs[#jobs + 1] = answer(id, record, found[i + 1], redis.call('HGET', key.leases, id))
  end
end
return jobs
