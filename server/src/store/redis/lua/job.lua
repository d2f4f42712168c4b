-- Shared by scripts that look into records.

local function state_in(record)
  return string.sub(record, head.state, head.state)
end

-- The time at `position` of a record or lease.
local function time_in(text, position)
  return (struct.unpack('>I8', text, position))
end

-- True when the job must not be started any more.
local function is_lapsed(record)
  return string.sub(record, head.expires, head.expires + 7) ~= never
    and time_in(record, head.expires) <= tonumber(now)
end

-- A job as the broker reads it: id, record, end of lease, lease, details.
local function answer(id, record, deadline, lease)
  local details = {}
  if string.sub(record, head.flags, head.flags) == '1' then
    details = redis.call('HGETALL', details_key(id))
  end
  return { id, record, deadline or false, lease or false, details }
end
