-- Applies decided transitions of any kind, each only if its guard holds, with the jobs that come with
-- it.
--
-- Arguments: number of transitions; per transition: job id;
--   guard ('L' leased, then the secret; 'O' leased and overdue, then the secret and the moment of
--   the sweep; 'W' held by nobody, then state, time, leases and revision as in the head); the
--   changing part of the head; its time; when it becomes ready 'F' front or 'B' back and its line,
--   else ''; history field or '', attempt; failure or ''; result or ''; checkpoint or ''; dedup key
--   to free or ''; how many finished jobs to keep: a number, '' for any number, 'none' to forget
--   this one at once; how many there may be before the others are forgotten; expiry of one that waits or ''; the record with its new spec or ''; '1' if a
--   lease is lost; event; number of follow-ups, then each as enqueue.lua says.
-- Replies, per transition: 'applied', 'lost', or {'refused', index from 0, outcome…}.
-- Touches: all keys of the jobs, leased, leases, the index of the old and the new state, terms,
--   ledger, events.
-- A script that has written already is not refused when memory runs out, and settles make room.
redis.call('UNLINK', base .. 'o')

local number = tonumber(take())

local function read_transition()
  local t = {
    id = take(), guard = take(), head = take(), at = take(), line = take(), field = take(),
    attempt = take(), failure = take(), result = take(), checkpoint = take(), free = take(),
    keep = take(), most = take(), expires = take(), spec = take(), lost = take(), event = take(),
  }
  t.state = string.sub(t.head, 1, 1)
  local followups = take()
  if followups ~= '0' then
    t.followups = read_jobs(tonumber(followups))
  end
  return t
end

-- True when the guard holds; then t.before is the state until now, t.lease or t.old what was read.
local function is_guarded(t)
  local kind = string.sub(t.guard, 1, 1)
  if kind == 'W' then
    return is_standing(t, string.sub(t.guard, 2))
  end
  local lease = lease_of(t.id)
  if not lease or string.sub(lease, 1, 8) ~= string.sub(t.guard, 2, 9) then
    return false
  end
  t.lease, t.before = lease, 'L'
  t.course = redis.call('HGET', key.courses, t.id)
  t.marked = string.sub(lease, lease_part.cancel, lease_part.cancel + 7) ~= never
  if t.marked and t.state ~= 'K' and t.state ~= 'C' then
    -- Decided without knowing that the job shall be cancelled.
    return false
  elseif kind == 'L' then
    return true
  end
  local ends = redis.call('ZSCORE', key.leased, t.id)
  return tonumber(ends) <= struct.unpack('>I8', t.guard, 10)
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

-- Writes the course, and the record if its spec is a new one; answers the record's size, before and
-- now.
local function write_job(t, has_details)
  local course = t.old or t.course or '0'
  if not t.lease then
    local before = redis.call('HGET', key.courses, t.id)
    if before and #before > course_size then
      -- The attempt that ended it goes where the others are.
      local slot = 'a' .. struct.unpack('>I4', before, head.counters) % ATTEMPTS_KEPT
      redis.call('HSET', details_key(t.id), slot, string.sub(before, course_size + 1))
      has_details = true
    end
  end
  local flag = has_details and '1' or string.sub(course, 1, 1)
  redis.call('HSET', key.courses, t.id, flag .. t.head)
  local size = record_size(t.id)
  if t.spec == '' then
    if key.finished[t.state] and t.state ~= 'K' then
      -- It is kept for long.
      part_record(t.id)
    end
    return size, size
  end
  write_record(t.id, t.spec)
  count_size(#t.spec)
  return size, #t.spec
end

-- state -> the last transition that ends in it, where this call finishes jobs: how many are kept.
local keeps = {}

-- Finished jobs beyond what is kept are forgotten, earliest to go first.
local function trim(state)
  local last = keeps[state]
  keeps[state] = nil
  local keep, most = tonumber(last and last.keep), tonumber(last and last.most)
  if not keep then
    return
  end
  local number = redis.call('ZCARD', key.finished[state])
  if number > most then
    local ids = {}
    local oldest = redis.call('ZPOPMIN', key.finished[state], math.min(number - keep, 1000))
    for i = 1, #oldest, 2 do
      ids[#ids + 1] = oldest[i]
    end
    forget(ids)
  end
end

local function enter_index(t)
  if key.finished[t.state] then
    if keeps[t.state] and keeps[t.state].keep ~= t.keep then
      flush_times()
      trim(t.state)
    end
    keeps[t.state] = t
    enter(key.finished[t.state], t.id, t.at)
  elseif t.state == 'R' then
    local front = string.sub(t.line, 1, 1) == 'F'
    local entry = new_entry(front and 'front' or 'back', string.sub(t.head, 2, 9), t.id)
    push_ready(front and 'LPUSH' or 'RPUSH', string.sub(t.line, 2), { entry })
  elseif t.state == 'S' then
    enter(key.scheduled, t.id, t.at)
  else
    enter(key.retrying, t.id, t.at)
  end
end

-- What this call adds to the counters.
local sums = { jobs = 0, bytes = 0, succeeded = 0, dead = 0, lost = 0 }

-- Counts what `t` ends or begins again; size of the record before and now.
local function sum_up(t, before, after)
  if not key.finished[t.before] then
    sums.jobs, sums.bytes = sums.jobs - 1, sums.bytes - before
    if t.state == 'K' then
      sums.succeeded = sums.succeeded + 1
    elseif t.state == 'D' then
      sums.dead = sums.dead + 1
    end
  end
  if t.keep ~= 'none' and not key.finished[t.state] then
    sums.jobs, sums.bytes = sums.jobs + 1, sums.bytes + after
  end
  if t.lost == '1' then
    sums.lost = sums.lost + 1
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
    leave_standing(t)
  end
  if t.keep == 'none' then
    sum_up(t, record_size(t.id), 0)
    forget({ t.id })
  else
    sum_up(t, write_job(t, write_details(t, worker)))
    if not t.stays then
      enter_index(t)
    end
    if t.expires ~= '' then
      enter(key.expiring, t.id, t.expires)
    end
  end
  tell_event(t.event, worker)
  if t.free ~= '' then
    free(t.free, t.id, t.keep == 'none')
  end
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
  apply_group(group, t.followups, outcomes)
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
for name, by in pairs(sums) do
  count(name, by)
end
if sums.succeeded + sums.dead > 0 then
  count_lately(1, sums.succeeded + sums.dead)
end
-- A lease fewer lets another job run where their number is limited.
if #gone > 0 and ledger()[field.max_leased] >= 0 and redis.call('EXISTS', key.lines) == 1 then
  redis.call('PUBLISH', channel.ready, ' ' .. queue)
end
write_ledger()
write_log()
return replies
