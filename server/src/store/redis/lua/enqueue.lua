-- Shared by insert.lua and commit.lua: what becomes of jobs to insert; needs standing.lua.
--
-- Per job: id, '1' if the caller chose it, record, due time or '' when ready, request id or '',
--   digest (16 bytes), dedup key or '', its scope ('S' until started, 'U' until finished,
--   'W' window) and what it does to a holder ('K' keep, 'P' replace, 'A' run after, 'X' reject),
--   its time to live in ms or '', event.
-- Outcomes: {'new'}, {'replayed', id}, {'duplicate', id}, {'replaced', id}, {'behind', id}; those
--   that refuse the group: {'rejected', id, state}, {'full'}, {'reused'}, {'exists', state}; and
--   {'withheld'} for the others of a refused group.
local refusals = { rejected = true, full = true, reused = true, exists = true }

local fresh = {} -- id -> state letter, of jobs that this call inserts
local records, lines, order = {}, {}, {}

local function read_job()
  local job = {
    id = take(), chosen = take() == '1', record = take(), due = take(), request = take(),
    digest = take(), dedup = take(), rule = take(), ttl = take(), event = take(),
  }
  job.scope, job.rule = string.sub(job.rule, 1, 1), string.sub(job.rule, 2)
  return job
end

local function state_of(id)
  if fresh[id] then
    return fresh[id]
  end
  local state = redis.call('GETRANGE', job_key(id), head.state - 1, head.state - 1)
  if state == '' then
    return nil
  end
  return lease_of(id) and 'L' or state
end

-- A queue that was deleted has left no requests to another one of its name.
local function request_key(request)
  return base .. 'q:' .. plain(ledger()[field.began]) .. ':' .. request
end

-- What an earlier call made of a request id; nil when it is new.
local function known_request(request)
  local known = redis.call('GET', request_key(request))
  return known and { digest = string.sub(known, 1, 16), id = string.sub(known, 17) } or nil
end

-- A group's view: what its jobs will have done by the time the next one is decided. `states` and
-- `held` hold false for a job and a key that will be gone.
local function new_group(jobs_room, bytes_room)
  return {
    asked = {}, states = {}, held = {}, waiting = {}, jobs = 0, bytes = 0,
    jobs_room = tonumber(jobs_room), bytes_room = tonumber(bytes_room),
  }
end

local function group_state(group, id)
  if group.states[id] ~= nil then
    return group.states[id] or nil
  end
  return state_of(id)
end

-- The job that holds a dedup key, or nil; a key whose job is gone is free.
local function group_holder(group, dedup)
  if group.held[dedup] ~= nil then
    return group.held[dedup] or nil
  end
  local held = redis.call('GET', base .. 'd:' .. dedup)
  local holder = held and string.sub(held, 2)
  return holder and group_state(group, holder) and holder or nil
end

local function has_started(group, id)
  if group.states[id] or fresh[id] then
    return false
  end
  return redis.call('GETRANGE', job_key(id), head.started - 1, head.started + 6) ~= never
end

local function has_room(group, job)
  return (not group.jobs_room or ledger()[field.jobs] + group.jobs + 1 <= group.jobs_room)
    and (
      not group.bytes_room
      or ledger()[field.bytes] + group.bytes + #job.record <= group.bytes_room
    )
end

-- The job that is blocked behind the holder, or nil.
local function group_waiting(group, dedup, holder)
  if group.waiting[dedup] then
    return group.waiting[dedup]
  end
  local waiting = waiting_for(dedup)
  return waiting and waiting.holder == holder and group_state(group, waiting.id) == 'B'
    and waiting.id
    or nil
end

-- What becomes of a job whose dedup key is held.
local function meet(group, job, holder)
  local state = group_state(group, holder)
  local is_pending = state == 'S' or state == 'R' or state == 'T'
  if job.rule == 'X' then
    return { 'rejected', holder, state }
  elseif job.rule == 'A' and state == 'L' then
    local waiting = group_waiting(group, job.dedup, holder)
    return waiting and { 'replaced', waiting } or { 'behind', holder }
  elseif job.rule == 'A' and is_pending then
    return { 'replaced', holder }
  elseif job.rule == 'P' and is_pending and not has_started(group, holder) then
    return { 'replaced', holder }
  end
  return { 'duplicate', holder }
end

-- What is to become of a job. Writes nothing: its group may be refused.
local function decide(group, job)
  local asked = job.request ~= '' and (group.asked[job.request] or known_request(job.request))
  if asked then
    return asked.digest == job.digest and { 'replayed', asked.id } or { 'reused' }
  end
  local taken = job.chosen and group_state(group, job.id)
  if taken then
    return { 'exists', taken }
  end
  local holder = job.dedup ~= '' and group_holder(group, job.dedup)
  local outcome = holder and meet(group, job, holder) or { 'new' }
  local is_new = outcome[1] == 'new' or outcome[1] == 'behind'
  if is_new and not has_room(group, job) then
    return { 'full' }
  end
  group.asked[job.request] = { digest = job.digest, id = is_new and job.id or outcome[2] }
  if is_new then
    group.jobs, group.bytes = group.jobs + 1, group.bytes + #job.record
  end
  if outcome[1] == 'new' then
    group.held[job.dedup] = job.id
    group.states[job.id] = job.due == '' and 'R' or 'S'
  elseif outcome[1] == 'behind' then
    group.waiting[job.dedup] = job.id
    group.states[job.id] = 'B'
  end
  return outcome
end

local function read_jobs(number)
  local jobs = {}
  for i = 1, number do
    jobs[i] = read_job()
  end
  return jobs
end

-- The outcomes of a group, and the index of the first that is refused or nil.
local function decide_group(group, jobs)
  local outcomes, refused = {}, nil
  for i, job in ipairs(jobs) do
    outcomes[i] = decide(group, job)
    refused = refused or (refusals[outcomes[i][1]] and i)
  end
  return outcomes, refused
end

-- Writes what the call has inserted so far.
local function flush_inserts()
  if #records > 0 then
    redis.call('MSET', unpack(records))
    records = {}
  end
  for _, line in ipairs(order) do
    push_ready('RPUSH', line, lines[line])
  end
  lines, order = {}, {}
  flush_times()
end

local function remember(job, id, memory)
  if job.request ~= '' then
    redis.call('SET', request_key(job.request), job.digest .. id, 'PX', memory)
  end
end

-- Adds a job, blocked behind `holder` if that is given.
local function add(job, holder)
  local record, extras = job.record, extras_of(job.record)
  if holder then
    record = string.sub(record, 1, head.state - 1) .. 'B' .. string.sub(record, head.state + 1)
    fresh[job.id] = 'B'
    enter(key.blocked, job.id, extras.created)
    local scope, ttl = job.scope, job.ttl
    wait_for(job.dedup, { id = job.id, holder = holder, scope = scope, ttl = ttl })
    tell('k', job.event)
  else
    if job.dedup ~= '' then
      hold(job.dedup, job.scope, job.id, job.ttl)
    end
    if job.due == '' then
      fresh[job.id] = 'R'
      local line = line_of(record)
      if not lines[line] then
        lines[line] = {}
        order[#order + 1] = line
      end
      table.insert(lines[line], entry_of('back', record, job.id))
    else
      fresh[job.id] = 'S'
      enter(key.scheduled, job.id, job.due)
    end
    tell_event(job.event)
  end
  records[#records + 1] = job_key(job.id)
  records[#records + 1] = record
  if string.sub(record, head.expires, head.expires + 7) ~= never then
    enter(key.expiring, job.id, plain(time_in(record, head.expires)))
  end
  if extras then
    index(job.id, extras)
  end
end

-- Where a job goes whose spec is replaced: state and time, as in job/operate.rs; nil when it stays.
local function new_start(job, old, is_blocked)
  local state, at = state_in(old), time_in(old, head.at)
  -- A claim that met a lapsed job has taken it out of its line.
  local moves = line_of(job.record) ~= line_of(old) or is_lapsed(old)
  local keeps_time = job.rule == 'A'
  local wants = keeps_time and state or (job.due == '' and 'R' or 'S')
  if is_blocked or (wants == 'R' and state == 'R' and not moves) then
    return nil
  elseif wants == 'R' then
    return 'R', math.max(tonumber(now), state == 'R' and at + 1 or 0)
  elseif keeps_time then
    return nil
  end
  return 'S', tonumber(job.due)
end

-- Gives the job `id` the spec of `job`; it keeps its id, its create time and its counters.
local function replace(job, id)
  flush_inserts()
  local old = redis.call('GET', job_key(id))
  local state, old_extras, extras = state_in(old), extras_of(old), extras_of(job.record)
  local to, at = new_start(job, old, state == 'B')
  local record = job.record
  local times = string.sub(old, old_extras.created_at, old_extras.created_at + 15)
  if job.rule ~= 'A' then
    -- It does not keep its time.
    local asked_for = extras.created_at + 8
    times = string.sub(times, 1, 8) .. string.sub(record, asked_for, asked_for + 7)
  end
  record = table.concat({
    string.sub(record, 1, head.revision - 1),
    struct.pack('>I4', struct.unpack('>I4', old, head.revision) + 1),
    string.sub(record, head.type, head.flags - 1),
    string.sub(old, head.flags, head.flags),
    to or state,
    at and struct.pack('>I8', at) or string.sub(old, head.at, head.at + 7),
    string.sub(old, head.counters, head.size),
    string.sub(record, head.size + 1, extras.created_at - 1),
    times,
    string.sub(record, extras.created_at + 16),
  })
  redis.call('SET', job_key(id), record)
  count('bytes', #record - #old)
  if to then
    if state == 'R' then
      withdraw(old, id)
    else
      leave(state == 'S' and key.scheduled or key.retrying, id)
    end
    if to == 'R' then
      push_ready('RPUSH', line_of(record), { entry_of('back', record, id) })
    else
      enter(key.scheduled, id, plain(at))
    end
  end
  leave(key.expiring, id)
  if string.sub(record, head.expires, head.expires + 7) ~= never then
    enter(key.expiring, id, plain(time_in(record, head.expires)))
  end
  unindex(id, old_extras)
  extras.created = old_extras.created
  index(id, extras)
  if state == 'B' then
    local holder = waiting_for(job.dedup).holder
    wait_for(job.dedup, { id = id, holder = holder, scope = job.scope, ttl = job.ttl })
  else
    hold(job.dedup, job.scope, id, job.ttl)
  end
  tell('x', state .. (to or state) .. string.char(#id) .. id .. job.event)
end

-- Makes the decided outcomes of a group true.
local function apply_group(group, jobs, outcomes, memory)
  for i, job in ipairs(jobs) do
    local word, id = outcomes[i][1], outcomes[i][2]
    if word == 'duplicate' then
      remember(job, id, memory)
      tell('d', state_of(id) .. id)
    elseif word == 'replaced' then
      replace(job, id)
      remember(job, id, memory)
    elseif word == 'new' or word == 'behind' then
      add(job, id)
      remember(job, job.id, memory)
    end
  end
  if group.jobs > 0 then
    count('enqueued', group.jobs)
    count('jobs', group.jobs)
    count('bytes', group.bytes)
    count_lately('enqueued_then', group.jobs)
  end
end
