-- Shared by scripts that move jobs nobody holds; needs ready.lua.

-- id -> lease, or false, of jobs that were looked at.
local leases_known = {}

local function lease_of(id)
  if leases_known[id] == nil then
    leases_known[id] = redis.call('HGET', key.leases, id)
  end
  return leases_known[id]
end

-- Jobs that enter a zset in this call: zset -> id -> time. Written by flush_times().
local entering = {}

local function enter(zset, id, time)
  entering[zset] = entering[zset] or {}
  entering[zset][id] = time
end

local function leave(zset, id)
  if entering[zset] then
    entering[zset][id] = nil
  end
  redis.call('ZREM', zset, id)
end

local function flush_times()
  for zset, members in pairs(entering) do
    local times = {}
    for id, time in pairs(members) do
      times[#times + 1] = time
      times[#times + 1] = id
    end
    if #times > 0 then
      if zset == key.blocked then
        redis.call('ZADD', zset, unpack(times))
      else
        add_times(zset, times)
      end
    end
  end
  entering = {}
end

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

-- Holds a dedup key for a job; `ttl` in ms or ''.
local function hold(dedup, scope, id, ttl)
  if ttl == '' then
    redis.call('SET', base .. 'd:' .. dedup, scope .. id)
  else
    redis.call('SET', base .. 'd:' .. dedup, scope .. id, 'PX', ttl)
  end
end

-- Which job waits behind which for a dedup key, and how it will hold it; nil when none does.
local function waiting_for(dedup)
  local value = redis.call('GET', base .. 'n:' .. dedup)
  if not value then
    return nil
  end
  local id, holder, scope, ttl = string.match(value, '^(%S+) (%S+) (%a) (%d*)$')
  return { id = id, holder = holder, scope = scope, ttl = ttl }
end

local function wait_for(dedup, waiting)
  local value = table.concat({ waiting.id, waiting.holder, waiting.scope, waiting.ttl }, ' ')
  redis.call('SET', base .. 'n:' .. dedup, value)
end

-- The job behind `waiting.holder` need not wait any more.
local function unblock(dedup, waiting)
  local id = waiting.id
  local record = front_of(id)
  if record == '' or state_in(record) ~= 'B' then
    return
  end
  leave(key.blocked, id)
  local at = time_in(record, head.at)
  if at > tonumber(now) then
    redis.call('SETRANGE', job_key(id), head.state - 1, 'S')
    enter(key.scheduled, id, plain(at))
    tell('u', now .. ';S' .. string.char(#id) .. id)
  else
    local moment = struct.pack('>I8', tonumber(now))
    redis.call('SETRANGE', job_key(id), head.state - 1, 'R' .. moment)
    push_ready('RPUSH', line_of(record), { new_place('back') .. entry_end(moment, id) })
    tell('u', now .. ';R' .. string.char(#id) .. id)
  end
  if redis.call('EXISTS', base .. 'd:' .. dedup) == 0 then
    hold(dedup, waiting.scope, id, waiting.ttl)
  end
end

-- A job's end gives its dedup key free, if its scope says so or the job is `gone`.
local function free(dedup, id, gone)
  local holder = redis.call('GET', base .. 'd:' .. dedup)
  if holder == 'U' .. id or holder == 'S' .. id or (gone and holder == 'W' .. id) then
    redis.call('DEL', base .. 'd:' .. dedup)
  end
  local waiting = waiting_for(dedup)
  if waiting and (waiting.id == id or waiting.holder == id) then
    redis.call('DEL', base .. 'n:' .. dedup)
    if waiting.holder == id then
      unblock(dedup, waiting)
    end
  end
end
