-- Reads leased jobs whose visibility timeout has ended, earliest first.
--
-- Arguments: limit.
-- Reply: jobs as prelude's answer() makes them.
-- Touches nothing.
local found =
  redis.call('ZRANGEBYSCORE', key.leased, '-inf', now, 'WITHSCORES', 'LIMIT', 0, take())
local jobs = {}
for i = 1, #found, 2 do
  local id = found[i]
  local record = redis.call('GET', job_key(id))
  if record then
    jobs[#jobs + 1] = answer(id, record, found[i + 1], redis.call('HGET', key.leases, id))
  end
end
return jobs
