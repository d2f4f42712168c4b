-- Forgets jobs of any state with all that belongs to them; when none is left, the queue itself.
--
-- Arguments: limit.
-- Reply: 1 when the queue is gone.
-- Touches all keys of the queue.
local limit = tonumber(take())

local ids, leased = {}, {}
for _, zset in ipairs({
  key.leased, key.scheduled, key.retrying, key.blocked, key.expiring, key.finished.K,
  key.finished.D, key.finished.C, key.finished.E,
}) do
  if #ids < limit then
    local found = redis.call('ZPOPMIN', zset, limit - #ids)
    for i = 1, #found, 2 do
      ids[#ids + 1] = found[i]
      if zset == key.leased then
        leased[#leased + 1] = found[i]
      end
    end
  end
end
if #leased > 0 then
  redis.call('HDEL', key.leases, unpack(leased))
end
for _ = 1, limit do
  local line = #ids < limit and redis.call('ZRANGE', key.lines, 0, 0)[1]
  if not line then
    break
  end
  for _, entry in ipairs(redis.call('LPOP', list_key(line), limit - #ids) or {}) do
    ids[#ids + 1] = string.sub(entry, entry_part.id)
  end
  if redis.call('EXISTS', list_key(line)) == 0 then
    redis.call('ZREM', key.lines, line)
  end
end

-- A job may stand in two indexes.
local seen, single = {}, {}
for _, id in ipairs(ids) do
  local job = not seen[id] and read_job(id) or ''
  if not seen[id] then
    seen[id] = true
    single[#single + 1] = id
  end
  local extras = job ~= '' and extras_of(job)
  if extras and extras.dedup then
    local holder = redis.call('GET', base .. 'd:' .. extras.dedup)
    if holder and string.sub(holder, 2) == id then
      redis.call('DEL', base .. 'd:' .. extras.dedup)
    end
    redis.call('DEL', base .. 'n:' .. extras.dedup)
  end
  if job ~= '' and not key.finished[state_in(job)] then
    count('jobs', -1)
    count('bytes', course_size - #job)
  end
  redis.call('ZREM', key.expiring, id)
end
if #single > 0 then
  forget(single)
end

if #ids < limit then
  redis.call(
    'UNLINK', key.ledger, key.settings, key.events, key.number, key.lines, key.leases, key.jobs, key.courses,
    key.live
  )
  redis.call('PUBLISH', SETTINGS_CHANNEL, queue)
  return 1
end
write_ledger()
return 0
