-- Applies decided transitions, each only if its guard holds, with the jobs that come with it.
--
-- Arguments: stream length, request memory in ms, number of transitions; per transition: job id;
--   guard ('L' leased, then the secret; 'O' leased and overdue, then the secret and the moment of
--   the sweep; 'W' held by nobody, then state, time, leases and revision as in the head); the
--   changing part of the head; its time; when it becomes ready 'F' front or 'B' back and its line,
--   else ''; history field or '', attempt; failure or ''; result or ''; checkpoint or ''; dedup key
--   to free or ''; how many finished jobs to keep: a number, '' for any number, 'none' to forget
--   this one at once; expiry of one that waits or ''; the record with its new spec or ''; '1' if a
--   lease is lost; event; number of follow-ups, then each as enqueue.lua says.
-- Replies, per transition: 'applied', 'lost', or {'refused', index from 0, outcome…}.
-- Touches: all keys of the jobs, leased, leases, the index of the old and the new state, terms,
--   ledger, events.
-- A script that has written already is not refused when memory runs out, and settles make room.
redis.call('UNLINK', base .. 'o')

local entries, memory, number = take(), take(), tonumber(take())

local pending = { S = key.scheduled, T = key.retrying, B = key.blocked }

local function read_transition()
  local t = {
    id = take(), guard = take(), head = take(), at = take(), line = take(), field = take(),
    attempt = take(), failure = take(), result = take(), checkpoint = take(), free = take(),
    keep = take(), expires = take(), spec = take(), lost = take(), event = take(),
  }
  t.state = string.sub(t.head, 1, 1)
  t.is_pending = t.state == 'R' or pending[t.state] ~= nil
  local followups = tonumber(take())
  if followups > 0 then
    t.followups = read_jobs(followups)
  end
  return t
end

-- True when the guard holds; then t.before is the state until now, t.lease or t.old what was read.
local function is_guarded(t)
  local kind, compare = string.sub(t.guard, 1, 1), string.sub(t.guard, 2)
  local lease = lease_of(t.id)
  if kind == 'W' then
    if lease then
      return false
    end
    local old = front_of(t.id)
    t.old, t.before = old, string.sub(compare, 1, 1)
    return string.sub(old, head.state, head.counters + 3) == string.sub(compare, 1, 13)
      and string.sub(old, head.revision, head.revision + 3) == string.sub(compare, 14)
  end
  if not lease or string.sub(lease, 1, 8) ~= string.sub(compare, 1, 8) then
    return false
  end
  t.lease, t.before = lease, 'L'
  t.marked = string.sub(lease, lease_part.cancel, lease_part.cancel + 7) ~= never
  if t.marked and t.state ~= 'K' and t.state ~= 'C' then
    -- Decided without knowing that the job shall be cancelled.
    return false
  elseif kind == 'L' then
    return true
  end
  local ends = redis.call('ZSCORE', key.leased, t.id)
  return tonumber(ends) <= time_in(compare, 9)
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

-- Writes the record and answers its size, before and now.
local function write_record(t, has_details)
  local name = job_key(t.id)
  if t.spec ~= '' then
    local flags = has_details and '1' or string.sub(t.old, head.flags, head.flags)
    local before = redis.call('STRLEN', name)
    local record = table.concat({
      string.sub(t.spec, 1, head.flags - 1), flags, t.head, string.sub(t.spec, head.size + 1),
    })
    redis.call('SET', name, record)
    return before, #record
  end
  local size
  if has_details then
    size = redis.call('SETRANGE', name, head.flags - 1, '1' .. t.head)
  else
    size = redis.call('SETRANGE', name, head.state - 1, t.head)
  end
  return size, size
end

-- state -> how many finished jobs of it are kept, where this call finishes some.
local keeps = {}

-- Finished jobs beyond what is kept are forgotten, earliest to go first.
local function trim(state)
  local keep = tonumber(keeps[state])
  keeps[state] = nil
  if not keep then
    return
  end
  local excess = redis.call('ZCARD', key.finished[state]) - keep
  if excess > 0 then
    local ids = {}
    local oldest = redis.call('ZPOPMIN', key.finished[state], math.min(excess, 1000))
    for i = 1, #oldest, 2 do
      ids[#ids + 1] = oldest[i]
    end
    forget(ids)
  end
end

-- A job that nobody holds leaves the index of its state, unless it stays where it is there.
local function leave_index(t)
  local from = t.before
  if from == t.state and t.keep ~= 'none' then
    -- Blocked ones stand there by their create time.
    local same_time = string.sub(t.old, head.at, head.at + 7) == string.sub(t.head, 2, 9)
    local same_line = from ~= 'R' or line_of(t.old) == string.sub(t.line, 2)
    t.stays = from == 'B' or (same_time and same_line)
    if t.stays then
      return
    end
  end
  if from == 'R' then
    withdraw(t.old, t.id)
  else
    leave(pending[from] or key.finished[from], t.id)
  end
end

local function enter_index(t)
  if t.state == 'R' then
    local front = string.sub(t.line, 1, 1) == 'F'
    local entry = new_place(front and 'front' or 'back')
      .. entry_end(string.sub(t.head, 2, 9), t.id)
    push_ready(front and 'LPUSH' or 'RPUSH', string.sub(t.line, 2), { entry })
  elseif t.is_pending then
    enter(pending[t.state], t.id, t.at)
  else
    if keeps[t.state] and keeps[t.state] ~= t.keep then
      flush_times()
      trim(t.state)
    end
    keeps[t.state] = t.keep
    enter(key.finished[t.state], t.id, t.at)
  end
end

-- The counters of what `t` ends or begins again; `size` of the record before and now.
local function count_move(t, before, now_size)
  local was_live = not key.finished[t.before]
  local is_live = t.keep ~= 'none' and not key.finished[t.state]
  local jobs = (is_live and 1 or 0) - (was_live and 1 or 0)
  if jobs ~= 0 then
    count('jobs', jobs)
  end
  local bytes = (is_live and now_size or 0) - (was_live and before or 0)
  if bytes ~= 0 then
    count('bytes', bytes)
  end
  if was_live and (t.state == 'K' or t.state == 'D') then
    count(t.state == 'K' and 'succeeded' or 'dead', 1)
    count_lately('finished_then', 1)
  end
  if t.lost == '1' then
    count('lost', 1)
  end
end

local gone = {}

local function apply(t)
  local worker
  if t.lease then
    worker = string.sub(t.lease, lease_part.worker)
    gone[#gone + 1] = t.id
    leases_known[t.id] = false
    if t.marked and t.keep ~= 'none' then
      redis.call('HDEL', details_key(t.id), 'x')
    end
  else
    leave_index(t)
    local expired = string.sub(t.old, head.expires, head.expires + 7) ~= never
    if expired and not (t.stays and t.expires ~= '') then
      leave(key.expiring, t.id)
    end
    if t.spec ~= '' then
      local extras = extras_of(t.old)
      if extras then
        unindex(t.id, extras)
      end
    end
  end
  if t.keep == 'none' then
    count_move(t, redis.call('STRLEN', job_key(t.id)), 0)
    forget({ t.id })
  else
    count_move(t, write_record(t, write_details(t, worker)))
    if t.spec ~= '' then
      local extras = extras_of(t.spec)
      if extras then
        index(t.id, extras)
      end
    end
    if not t.stays then
      enter_index(t)
    end
    if t.is_pending and t.expires ~= '' then
      enter(key.expiring, t.id, t.expires)
    end
  end
  tell_event(t.event, worker)
  if t.free ~= '' then
    free(t.free, t.id, t.keep == 'none')
  end
end

-- What the follow-ups of `t` will find once it is applied.
local function group_after(t)
  local group = new_group('', '')
  group.states[t.id] = t.keep ~= 'none' and t.state
  if t.free ~= '' then
    local holder = redis.call('GET', base .. 'd:' .. t.free)
    local waiting = waiting_for(t.free)
    if waiting and waiting.holder == t.id and state_of(waiting.id) == 'B' then
      group.held[t.free] = waiting.id
      group.states[waiting.id] = 'R'
    elseif holder == 'U' .. t.id or holder == 'S' .. t.id then
      group.held[t.free] = false
    end
  end
  return group
end

-- Applies one transition with its follow-ups or not at all.
local function commit(t)
  if not is_guarded(t) then
    return 'lost'
  elseif not t.followups then
    apply(t)
    return 'applied'
  end
  local group = group_after(t)
  local outcomes, refused = decide_group(group, t.followups)
  if refused then
    return { 'refused', refused - 1, unpack(outcomes[refused]) }
  end
  apply(t)
  apply_group(group, t.followups, outcomes, memory)
  -- Before another transition puts a job in a line.
  flush_inserts()
  return 'applied'
end

local transitions, ids, replies = {}, {}, {}
for i = 1, number do
  transitions[i] = read_transition()
  ids[i] = transitions[i].id
end
for i, lease in ipairs(redis.call('HMGET', key.leases, unpack(ids))) do
  leases_known[ids[i]] = lease
end
for i, t in ipairs(transitions) do
  replies[i] = commit(t)
end
if #gone > 0 then
  redis.call('ZREM', key.leased, unpack(gone))
  redis.call('HDEL', key.leases, unpack(gone))
end
flush_times()
for state in pairs(key.finished) do
  trim(state)
end
-- A lease fewer lets another job run where their number is limited.
if #gone > 0 and ledger()[field.max_leased] >= 0 and any_ready() then
  redis.call('PUBLISH', channel.ready, queue)
end
write_ledger()
write_log(entries)
return replies
