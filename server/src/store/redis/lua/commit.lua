-- Applies decided transitions, each only if its guard holds.
--
-- Arguments: stream length, number of transitions; per transition: job id, guard ('L' leased,
--   'O' leased and overdue, 'W' waiting), what the guard compares (secret; secret; lease number as
--   in the head), moment of the sweep for 'O' or '', the changing part of the head, new state,
--   its time, 'LPUSH' or 'RPUSH', priority, history field or '', attempt, failure or '',
--   result or '', checkpoint or '', dedup key to free or '', how many finished jobs to keep:
--   a number, '' for any number, 'none' to forget this one at once; event.
-- Replies, per transition: 'applied' or 'lost'.
-- Touches: all keys of the jobs, leased, leases, the index of the old and the new state, events.
-- A script that has written already is not refused when memory runs out, and settles make room.
redis.call('UNLINK', base .. 'o')

local entries, count = take(), tonumber(take())

local transitions, ids = {}, {}
for i = 1, count do
  transitions[i] = {
    id = take(), guard = take(), compare = take(), sweep = take(), head = take(), state = take(),
    at = take(), side = take(), priority = tonumber(take()), field = take(), attempt = take(),
    failure = take(), result = take(), checkpoint = take(), free = take(), keep = take(),
    event = take(),
  }
  ids[i] = transitions[i].id
end

local leases = {}
for i, lease in ipairs(redis.call('HMGET', key.leases, unpack(ids))) do
  leases[ids[i]] = lease
end

-- Jobs that wait from now on: id -> due time, by state.
local times = { S = {}, T = {} }

-- True when the guard holds; a job that waits leaves its line.
local function leave(t)
  local lease = leases[t.id]
  if t.guard == 'W' then
    if lease then
      return false
    end
    local record = redis.call('GETRANGE', job_key(t.id), 0, head.size - 1)
    local state = string.sub(record, head.state, head.state)
    if string.sub(record, head.counters, head.counters + 3) ~= t.compare then
      return false
    elseif state == 'R' then
      -- The list is searched, but a late ack of a job nobody took meanwhile is rare.
      redis.call('LREM', base .. 'r:' .. priority_of(record), 1, t.id)
      return true
    elseif state == 'T' then
      redis.call('ZREM', key.retrying, t.id)
      times.T[t.id] = nil
      return true
    end
    return false
  end
  if not lease or string.sub(lease, 1, 8) ~= t.compare then
    return false
  end
  if t.guard == 'O' and tonumber(redis.call('ZSCORE', key.leased, t.id)) > tonumber(t.sweep) then
    return false
  end
  return true
end

local function write_details(t, worker)
  local fields = {}
  if t.field ~= '' then
    local attempt = t.attempt
    if worker then
      -- Field 4 of the attempt's record, for those that don't name their worker.
      local length = #worker < 128 and string.char(#worker) or '\128\1'
      attempt = '\34' .. length .. worker .. attempt
    end
    fields[#fields + 1] = t.field
    fields[#fields + 1] = attempt
  end
  for name, value in pairs({ f = t.failure, r = t.result, c = t.checkpoint }) do
    if value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  if #fields > 0 then
    redis.call('HSET', details_key(t.id), unpack(fields))
    return true
  end
  return false
end

local finished, keeps = {}, {}

-- Finished jobs of one state join their index; those beyond what is kept are forgotten.
local function flush_finished(state)
  local times_of_state = finished[state]
  if not times_of_state then
    return
  end
  finished[state] = nil
  add_times(key.finished[state], times_of_state)
  if keeps[state] ~= '' then
    local excess = redis.call('ZCARD', key.finished[state]) - tonumber(keeps[state])
    if excess > 0 then
      local oldest = redis.call('ZPOPMIN', key.finished[state], math.min(excess, 1000))
      local names = {}
      for i = 1, #oldest, 2 do
        names[#names + 1] = job_key(oldest[i])
        names[#names + 1] = details_key(oldest[i])
      end
      redis.call('UNLINK', unpack(names))
    end
  end
end

local function enter(t)
  if t.state == 'R' then
    push_ready(t.side, t.priority, { t.id })
  elseif times[t.state] then
    times[t.state][t.id] = t.at
  else
    if keeps[t.state] ~= t.keep then
      flush_finished(t.state)
      keeps[t.state] = t.keep
    end
    finished[t.state] = finished[t.state] or {}
    table.insert(finished[t.state], t.at)
    table.insert(finished[t.state], t.id)
  end
end

local replies, gone = {}, {}
for i, t in ipairs(transitions) do
  if leave(t) then
    local lease = leases[t.id]
    local worker = lease and string.sub(lease, 21) or nil
    if lease then
      gone[#gone + 1] = t.id
      leases[t.id] = false
    end
    if t.free ~= '' and redis.call('GET', base .. 'd:' .. t.free) == 'U' .. t.id then
      redis.call('DEL', base .. 'd:' .. t.free)
    end
    if t.keep == 'none' then
      redis.call('UNLINK', job_key(t.id), details_key(t.id))
    else
      if write_details(t, worker) then
        redis.call('SETRANGE', job_key(t.id), head.flags - 1, '1' .. t.head)
      else
        redis.call('SETRANGE', job_key(t.id), head.state - 1, t.head)
      end
      enter(t)
    end
    tell_event(t.event, worker)
    replies[i] = 'applied'
  else
    replies[i] = 'lost'
  end
end

if #gone > 0 then
  redis.call('ZREM', key.leased, unpack(gone))
  redis.call('HDEL', key.leases, unpack(gone))
end
for state, zset in pairs({ S = key.scheduled, T = key.retrying }) do
  local waiting = {}
  for id, at in pairs(times[state]) do
    waiting[#waiting + 1] = at
    waiting[#waiting + 1] = id
  end
  if #waiting > 0 then
    add_times(zset, waiting)
  end
end
for state in pairs(key.finished) do
  flush_finished(state)
end
write_log(entries)
return replies
