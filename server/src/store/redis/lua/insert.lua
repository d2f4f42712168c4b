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

-- What an earlier call made of a request id; nil when it is new.
local function known_request(request)
  local known = redis.call('GET', base .. 'q:' .. request)
  return known and { digest = string.sub(known, 1, 16), id = string.sub(known, 17) } or nil
end

-- The job that holds a dedup key, or nil; a key whose job is gone is free.
local function known_holder(dedup)
  local held = redis.call('GET', base .. 'd:' .. dedup)
  if held and state_of(string.sub(held, 2)) then
    return string.sub(held, 2)
  end
  return nil
end

-- What is to become of a job. Writes nothing yet but what those after it in its group must see.
local function decide(job, group)
  local asked = job.request ~= '' and (group.asked[job.request] or known_request(job.request))
  if asked then
    return asked.digest == job.digest and { 'replayed', asked.id } or { 'reused' }
  end
  local taken = job.chosen and (group.taken[job.id] or state_of(job.id))
  if taken then
    return { 'exists', taken }
  end
  local holder = job.dedup ~= '' and (group.held[job.dedup] or known_holder(job.dedup))
  group.asked[job.request] = { digest = job.digest, id = holder or job.id }
  if holder then
    return { 'duplicate', holder }
  end
  group.held[job.dedup] = job.id
  group.taken[job.id] = job.due == '' and 'R' or 'S'
  return { 'new' }
end

local function remember(job, id)
  if job.request ~= '' then
    redis.call('SET', base .. 'q:' .. job.request, job.digest .. id, 'PX', memory)
  end
end

local function insert(job)
  if job.dedup ~= '' then
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
end

local replies = {}
for _ = 1, groups do
  local jobs, outcomes, refused = {}, {}, false
  local group = { asked = {}, taken = {}, held = {} }
  for i = 1, tonumber(take()) do
    jobs[i] = read_job()
    outcomes[i] = decide(jobs[i], group)
    refused = refused or outcomes[i][1] == 'reused' or outcomes[i][1] == 'exists'
  end
  for i, job in ipairs(jobs) do
    local word, id = outcomes[i][1], outcomes[i][2]
    if refused and word ~= 'reused' and word ~= 'exists' then
      outcomes[i] = { 'withheld' }
    elseif word == 'duplicate' then
      remember(job, id)
      tell('d', state_of(id) .. id)
    elseif word == 'new' then
      insert(job)
    end
    replies[#replies + 1] = outcomes[i]
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
