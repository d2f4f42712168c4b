-- Reads one job.
--
-- Arguments: job id.
-- Reply: the job as prelude's answer() makes it, or nil.
-- Touches nothing.
local id = take()
local record = redis.call('GET', job_key(id))
if not record then
  return false
end
local lease = redis.call('HGET', key.leases, id)
return answer(id, record, lease and redis.call('ZSCORE', key.leased, id), lease)
