-- Moves the end of leases and marks jobs that shall be cancelled.
--
-- Arguments: number of leases; per lease: job id, secret, new end or '', progress or
--   '', checkpoint or '', latest end that a cancellation sets or '', the cancellation or '', event
--   or ''.
-- Replies, per lease: {end, cancellation or ''} or 'lost'.
-- Touches: leased, leases, courses, details, events.
-- A script that has written already is not refused when memory runs out, and settles make room.
redis.call('UNLINK', base .. 'o')

local number = tonumber(take())

local ends = {} -- id -> new end

-- Writes what is left behind; answers the lease, which tells whether there is something.
local function write_details(id, lease, fields)
  local given = {}
  for name, value in pairs(fields) do
    if value ~= '' then
      given[#given + 1] = name
      given[#given + 1] = value
    end
  end
  if #given > 0 then
    redis.call('HSET', details_key(id), unpack(given))
    local job = read_job(id)
    if string.sub(job, 1, 1) == '0' then
      redis.call('HSET', key.courses, id, '1' .. string.sub(job, 2, course_size))
    end
    lease = string.sub(lease, 1, lease_part.details - 1)
      .. '1'
      .. string.sub(lease, lease_part.details + 1)
    redis.call('HSET', key.leases, id, lease)
  end
  return lease
end

-- The latest end that cancellations set, or 0, and the lease; the earlier of an old and a new end stays.
local function mark(id, lease, by, cancel)
  local before = time_in(lease, lease_part.cancel)
  if by == '' or (before > 0 and before <= tonumber(by)) then
    return before, lease
  end
  local marked = string.sub(lease, 1, lease_part.cancel - 1)
    .. struct.pack('>I8', tonumber(by))
    .. string.sub(lease, lease_part.cancel + 8)
  redis.call('HSET', key.leases, id, marked)
  return tonumber(by), write_details(id, marked, { x = cancel })
end

local replies = {}
for i = 1, number do
  local id, secret, until_ms, progress, checkpoint, by, cancel, event =
    take(), take(), take(), take(), take(), take(), take(), take()
  local lease = redis.call('HGET', key.leases, id)
  if lease and string.sub(lease, 1, 8) == secret then
    local latest
    latest, lease = mark(id, lease, by, cancel)
    local present = until_ms ~= '' and until_ms
      or ends[id]
      or redis.call('ZSCORE', key.leased, id)
    if latest > 0 and latest < tonumber(present) then
      present = plain(latest)
    end
    ends[id] = present
    lease = write_details(id, lease, { p = progress, c = checkpoint })
    if event ~= '' then
      tell_event(event, string.sub(lease, lease_part.worker))
    end
    replies[i] = { present, latest > 0 and redis.call('HGET', details_key(id), 'x') or '' }
  else
    replies[i] = 'lost'
  end
end
local times = {}
for id, time in pairs(ends) do
  times[#times + 1] = time
  times[#times + 1] = id
end
if #times > 0 then
  add_times(key.leased, times)
end
write_log()
return replies
