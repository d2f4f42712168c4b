-- Shared by scripts that look into jobs; needs pages.lua.

-- A course and a record as one text; '' when there is no record.
local function join(record, course)
  if not record then
    return ''
  elseif course then
    return string.sub(course, 1, course_size) .. record
  end
  -- As it was enqueued: the record tells state and time.
  return '0' .. string.sub(record, 11, 11) .. '\0\0' .. string.sub(record, 12, 17)
    .. string.rep('\0', 28) .. record
end

-- A job; '' when there is none.
local function read_job(id)
  local record = record_of(id)
  return join(record, record and redis.call('HGET', key.courses, id))
end

local function state_in(job)
  return string.sub(job, head.state, head.state)
end

-- The time at `position` of a job or lease.
local function time_in(text, position)
  return (struct.unpack('>I8', text, position))
end

-- What stands behind the type (codec.rs): the dedup key with its kind, the create time and its
-- position, the terms, the expiry, the job's own timeouts. nil when there is nothing.
local function extras_of(job)
  local high, low = string.byte(job, head.extras, head.extras + 1)
  if high == 0 and low == 0 then
    return nil
  end
  local from = head.size + string.byte(job, head.type) + 1
  local last = from + high * 256 + low
  local extras = { terms = {} }
  while from < last do
    local kind = string.sub(job, from, from)
    local length = struct.unpack('>I2', job, from + 1)
    local value = string.sub(job, from + 3, from + 2 + length)
    if kind == 't' then
      table.insert(extras.terms, value)
    elseif kind == 'c' then
      extras.created_at = from + 3
      extras.created = plain(time_in(value, 1))
    elseif kind == 'x' then
      extras.expires = time_in(value, 1)
    elseif kind == 'o' then
      extras.lease, extras.timeout = struct.unpack('>I4I4', value)
    else
      extras.kind, extras.dedup = kind, value
    end
    from = from + 3 + length
  end
  return extras
end

-- The dedup key of the job, or nil: it would be the first of the extras.
local function dedup_of(job)
  local at = head.size + string.byte(job, head.type) + 1
  local high, low = string.byte(job, head.extras, head.extras + 1)
  local kind = (high > 0 or low > 0) and string.sub(job, at, at)
  if kind ~= 'u' and kind ~= 'k' then
    return nil
  end
  return string.sub(job, at + 3, at + 2 + struct.unpack('>I2', job, at + 1))
end

-- When the job expires, or nil.
local function expiry_of(job)
  if string.byte(job, head.kind) % 2 == 0 then
    return nil
  end
  return extras_of(job).expires
end

-- True when the job must not be started any more.
local function is_lapsed(job)
  local expires = expiry_of(job)
  return expires ~= nil and expires <= tonumber(now)
end

-- A job as the broker reads it: id, record, course, end of lease, lease, details.
local function answer(id, record, course, deadline, lease)
  local details = {}
  if course and string.sub(course, 1, 1) == '1' then
    details = redis.call('HGETALL', details_key(id))
  end
  return { id, record, course or false, deadline or false, lease or false, details }
end

-- What answer() makes of the job `id`, with its lease; nil when there is none.
local function answer_of(id)
  local record = record_of(id)
  if not record then
    return nil
  end
  local lease = redis.call('HGET', key.leases, id)
  local deadline = lease and redis.call('ZSCORE', key.leased, id)
  return answer(id, record, redis.call('HGET', key.courses, id), deadline, lease)
end

-- Writes the state of a job that nobody holds, and since when.
local function write_state(id, job, state, at)
  local course = string.sub(job, 1, 1) .. state .. at .. string.sub(job, head.counters, course_size)
  redis.call('HSET', key.courses, id, course)
end
