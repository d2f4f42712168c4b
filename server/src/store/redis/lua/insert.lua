-- Inserts groups of jobs, each group whole or not at all.
--
-- Arguments: stream length, request memory in ms, number of groups; per group its number of jobs;
--   per job: id, '1' if the caller chose it, record, due time or '' when ready, request id or '',
--   digest (16 bytes), dedup key or '', its scope ('U' until finished, 'W' window), its time to
--   live in ms or '', event.
-- Replies, per job: {'new'}, {'replayed', id}, {'duplicate', id}, {'reused'}, {'exists', state},
--   {'withheld'}.
-- Touches: job, request and dedup keys, priorities, ready lists, scheduled, events.
local entries, memory, groups = take(), take(), tonumber(take())

local fresh = {} -- id -> state letter, of jobs that this call inserts
local records, due, ready, order = {}, {}, {}, {}

local function state_of(id)
  if fresh[id] then
    return fresh[id]
  end
  local state = redis.call('GETRANGE', job_key(id), head.state - 1, head.state - 1)
  if state == '' then
    return nil
  end
  if redis.call('ZSCORE', key.leased, id) then
    return 'L'
  end
  return state
end

local function read_job()
  return {
    id = take(), chosen = take() == '1', record = take(), due = take(), request = take(),
    digest = take(), dedup = take(), scope = take(), ttl = take(), event = take(),
  }
end

-- What the request id of a job says about it: nil when it is new.
local function repeated(job)
  if job.request == '' then
    return nil
  end
  local known = redis.call('GET', base .. 'q:' .. job.request)
  if not known then
    return nil
  end
  if string.sub(known, 1, 16) ~= job.digest then
    return { 'reused' }
  end
  return { 'replayed', string.sub(known, 17) }
end

local function remember(job, id)
  if job.request ~= '' then
    redis.call('SET', base .. 'q:' .. job.request, job.digest .. id, 'PX', memory)
  end
end

-- The job that holds the dedup key, or nil; a key whose job is gone is free.
local function holder(job)
  local held = redis.call('GET', base .. 'd:' .. job.dedup)
  if held and state_of(string.sub(held, 2)) then
    return string.sub(held, 2)
  end
  return nil
end

local function insert(job)
  if job.dedup ~= '' then
    local id = holder(job)
    if id then
      remember(job, id)
      tell('d', state_of(id) .. id)
      return { 'duplicate', id }
    end
    local name, value = base .. 'd:' .. job.dedup, job.scope .. job.id
    if job.ttl == '' then
      redis.call('SET', name, value)
    else
      redis.call('SET', name, value, 'PX', job.ttl)
    end
  end
  records[#records + 1] = job_key(job.id)
  records[#records + 1] = job.record
  if job.due == '' then
    fresh[job.id] = 'R'
    local priority = priority_of(job.record)
    if not ready[priority] then
      ready[priority] = {}
      order[#order + 1] = priority
    end
    table.insert(ready[priority], job.id)
  else
    fresh[job.id] = 'S'
    due[#due + 1] = job.due
    due[#due + 1] = job.id
  end
  remember(job, job.id)
  tell_event(job.event)
  return { 'new' }
end

local replies = {}
for _ = 1, groups do
  local jobs, outcomes, refused, seen = {}, {}, false, {}
  for i = 1, tonumber(take()) do
    local job = read_job()
    jobs[i] = job
    local outcome = repeated(job)
    if not outcome and job.chosen then
      local state = seen[job.id] or state_of(job.id)
      if state then
        outcome = { 'exists', state }
      end
      seen[job.id] = job.due == '' and 'R' or 'S'
    end
    outcomes[i] = outcome
    refused = refused or (outcome and outcome[1] ~= 'replayed')
  end
  for i, job in ipairs(jobs) do
    local outcome = outcomes[i]
    if not outcome then
      -- Looked at again: an earlier job of this call may carry the same request.
      outcome = refused and { 'withheld' } or repeated(job) or insert(job)
    elseif refused and outcome[1] == 'replayed' then
      outcome = { 'withheld' }
    end
    replies[#replies + 1] = outcome
  end
end

if #records > 0 then
  redis.call('MSET', unpack(records))
end
for _, priority in ipairs(order) do
  push_ready('RPUSH', priority, ready[priority])
end
if #due > 0 then
  add_times(key.scheduled, due)
end
write_log(entries)
return replies
