-- Shared by scripts that must know more of a record than its head; needs ledger.lua and job.lua.

-- The record of a job as far as scripts read it; the spec may be cut off. '' when there is none.
local function front_of(id)
  local front = redis.call('GETRANGE', job_key(id), 0, 1023)
  if #front == 1024 then
    local high, low = string.byte(front, head.extras, head.extras + 1)
    local needed = head.size + string.byte(front, head.type) + high * 256 + low
    if needed > 1024 then
      return redis.call('GETRANGE', job_key(id), 0, needed - 1)
    end
  end
  return front
end

-- What stands behind the type (codec.rs): the dedup key with its kind, the create time and its
-- position, the terms. nil when there is nothing.
local function extras_of(record)
  local high, low = string.byte(record, head.extras, head.extras + 1)
  if high == 0 and low == 0 then
    return nil
  end
  local from = head.size + string.byte(record, head.type) + 1
  local last = from + high * 256 + low
  local extras = { terms = {} }
  while from < last do
    local kind = string.sub(record, from, from)
    local length = struct.unpack('>I2', record, from + 1)
    local value = string.sub(record, from + 3, from + 2 + length)
    if kind == 't' then
      table.insert(extras.terms, value)
    elseif kind == 'c' then
      extras.created_at = from + 3
      extras.created = plain(time_in(value, 1))
    else
      extras.kind, extras.dedup = kind, value
    end
    from = from + 3 + length
  end
  return extras
end

local function index(id, extras)
  for _, term in ipairs(extras.terms) do
    redis.call('ZADD', base .. 'i:' .. term, extras.created, id)
    if ledger()[field.indexed] == 0 then
      count('indexed', 1)
    end
  end
end

local function unindex(id, extras)
  for _, term in ipairs(extras.terms) do
    redis.call('ZREM', base .. 'i:' .. term, id)
  end
end

-- Forgets finished jobs, and those that were taken out of all else.
local function forget(ids)
  local names = {}
  for _, id in ipairs(ids) do
    if ledger()[field.indexed] == 1 then
      local front = front_of(id)
      local extras = front ~= '' and extras_of(front)
      if extras then
        unindex(id, extras)
      end
    end
    names[#names + 1] = job_key(id)
    names[#names + 1] = details_key(id)
  end
  redis.call('UNLINK', unpack(names))
end
