-- Shared by insert_any.lua and commit_any.lua: jobs whose dedup key is held; comes before enqueue.lua and needs
-- standing.lua and batch.lua.

-- The job that will hold a dedup key, or nil.
local function group_holder(group, dedup)
  if group.held[dedup] ~= nil then
    return group.held[dedup] or nil
  end
  local held = redis.call('GET', base .. 'd:' .. dedup)
  if not held then
    return nil
  elseif fresh[string.sub(held, 2)] then
    flush_inserts()
  end
  local holder = holder_of(dedup)
  return holder and group_state(group, holder) and holder or nil
end

local function has_started(group, id)
  if group.states[id] or fresh[id] then
    return false
  end
  return string.sub(read_job(id), head.started, head.started + 7) ~= never
end

-- The job that is blocked behind the holder, or nil.
local function group_waiting(group, dedup, holder)
  if group.waiting[dedup] then
    return group.waiting[dedup]
  end
  local waiting = waiting_for(dedup, holder)
  return waiting and group_state(group, waiting.id) == 'B' and waiting.id or nil
end

-- What becomes of a job whose dedup key is held; nil when it is not.
local function meet(group, job)
  local holder = group_holder(group, job.dedup)
  if not holder then
    return nil
  end
  local state, rule = group_state(group, holder), string.sub(job.rule, 2)
  local is_pending = state == 'S' or state == 'R' or state == 'T'
  if rule == 'X' then
    return { 'rejected', holder, state }
  elseif rule == 'A' and state == 'L' then
    local waiting = group_waiting(group, job.dedup, holder)
    return waiting and { 'replaced', waiting } or { 'behind', holder }
  elseif rule == 'A' and is_pending then
    return { 'replaced', holder }
  elseif rule == 'P' and is_pending and not has_started(group, holder) then
    return { 'replaced', holder }
  end
  return { 'duplicate', holder }
end

-- Where a job goes whose spec is replaced: state and time, as in job/operate.rs; nil when it stays.
local function new_start(job, old, keeps_time)
  local state, at = state_in(old), time_in(old, head.at)
  -- A claim that met a lapsed job has taken it out of its line.
  local moves = line_of(join(job.record)) ~= line_of(old) or is_lapsed(old)
  local wants = keeps_time and state or (job.due == '' and 'R' or 'S')
  if state == 'B' or (wants == 'R' and state == 'R' and not moves) then
    return nil
  elseif wants == 'R' then
    return 'R', math.max(tonumber(now), state == 'R' and at + 1 or 0)
  elseif keeps_time then
    return nil
  end
  return 'S', tonumber(job.due)
end

-- Notes the state of a job whose spec will be replaced, as new_start() makes it.
local function note_replaced(group, job, id)
  local state, keeps_time = group_state(group, id), string.sub(job.rule, 2) == 'A'
  local wants = (state == 'B' or keeps_time) and state or (job.due == '' and 'R' or 'S')
  local known = group.states[id] and group.states or group.replaced
  known[id] = wants
end

-- The record of `job` under the id of another one, `old`: that one's create time stays.
local function merged_record(job, old, keeps_time)
  local record = job.record
  local from = extras_of(old).created_at
  local into = extras_of(join(record)).created_at - course_size
  local asked_for = keeps_time and string.sub(old, from + 8, from + 15)
    or string.sub(record, into + 8, into + 15)
  local revision = head.revision - course_size
  return table.concat({
    string.sub(record, 1, revision - 1),
    struct.pack('>I4', struct.unpack('>I4', old, head.revision) + 1),
    string.sub(record, revision + 4, into - 1),
    string.sub(old, from, from + 7),
    asked_for,
    string.sub(record, into + 16),
  })
end

-- Gives the job `id` the spec of `job`; it keeps its id, its create time and its counters.
local function replace(job, id)
  flush_inserts()
  local old = read_job(id)
  local state, keeps_time = state_in(old), string.sub(job.rule, 2) == 'A'
  local to, at = new_start(job, old, keeps_time)
  local record = merged_record(job, old, keeps_time)
  local since = at and struct.pack('>I8', at) or string.sub(old, head.at, head.at + 7)
  local course = string.sub(old, head.flags, head.flags) .. (to or state) .. since
    .. string.sub(old, head.counters, course_size)
  write_record(id, record)
  redis.call('HSET', key.courses, id, course)
  fresh[id] = fresh[id] and (to or state)
  count('bytes', #record - (#old - course_size))
  count_size(#record)
  local whole = join(record, course)
  if to then
    if state == 'R' then
      withdraw(old, id)
    else
      leave(state == 'S' and key.scheduled or key.retrying, id)
    end
    if to == 'R' then
      push_ready('RPUSH', line_of(whole), { new_entry('back', since, id) })
    else
      enter(key.scheduled, id, plain(at))
    end
  end
  leave(key.expiring, id)
  local expires = expiry_of(whole)
  if expires then
    enter(key.expiring, id, plain(expires))
  end
  unindex(id, extras_of(old))
  index(id, extras_of(whole))
  local scope = string.sub(job.rule, 1, 1)
  if state == 'B' then
    local holder = string.sub(redis.call('GET', base .. 'd:' .. job.dedup), 2)
    wait_for(job.dedup, holder, id, scope, job.ttl)
  else
    hold(job.dedup, scope, id, job.ttl)
  end
  tell('x', state .. (to or state) .. string.char(#id) .. id .. job.event)
end

-- Adds a job that is blocked behind the holder of its dedup key.
local function add_blocked(job, holder)
  local id, record = job.id, job.record
  local extras = extras_of(join(record))
  fresh[id] = 'B'
  enter(key.blocked, id, extras.created)
  wait_for(job.dedup, holder, id, string.sub(job.rule, 1, 1), job.ttl)
  index(id, extras)
  local begun = head.begun - course_size
  records[#records + 1] = id
  records[#records + 1] = string.sub(record, 1, begun - 1) .. 'B' .. string.sub(record, begun + 1)
  if extras.expires then
    enter(key.expiring, id, plain(extras.expires))
  end
  tell('k', job.event)
end

-- What the extras of a job mean that is added.
local function add_extras(job, whole)
  local extras = extras_of(whole)
  if not extras then
    return
  end
  if job.dedup ~= '' then
    hold(job.dedup, string.sub(job.rule, 1, 1), job.id, job.ttl)
  end
  index(job.id, extras)
  if extras.expires then
    enter(key.expiring, job.id, plain(extras.expires))
  end
end
