-- Shared by scripts that move jobs nobody holds; needs ready.lua, times.lua and terms.lua.

local function leave(zset, id)
  if entering[zset] then
    entering[zset][id] = nil
  end
  redis.call('ZREM', zset, id)
end

-- A list up to this long is searched for an entry; in a longer one the entry stays, stale.
local searched = 1000

-- Lists that were searched in this call: ends of entries -> entries, and how many pushes were before.
local lists_seen = {}

-- Takes a ready job out of its line.
local function withdraw(job, id)
  local line = line_of(job)
  local length = redis.call('LLEN', list_key(line))
  if length > searched then
    count('stale', 1)
    return
  end
  local seen = lists_seen[line]
  if not seen or seen.pushes < pushes then
    seen = { pushes = pushes }
    for _, entry in ipairs(redis.call('LRANGE', list_key(line), 0, -1)) do
      seen[string.sub(entry, entry_part.at)] = entry
    end
    lists_seen[line] = seen
  end
  local entry = seen[string.sub(job, head.at + 2, head.at + 7) .. id]
  if entry and redis.call('LREM', list_key(line), 1, entry) == 1 and length == 1 then
    redis.call('ZREM', key.lines, line)
  end
end

-- Holds a dedup key for a job; `ttl` in ms or ''.
local function hold(dedup, scope, id, ttl)
  if ttl == '' then
    redis.call('SET', base .. 'd:' .. dedup, scope .. id)
  else
    redis.call('SET', base .. 'd:' .. dedup, scope .. id, 'PX', ttl)
  end
end

-- The job that holds a dedup key, or nil: one that is gone holds nothing, even if another has its id.
local function holder_of(dedup)
  local held = redis.call('GET', base .. 'd:' .. dedup)
  if not held then
    return nil
  end
  local holder = string.sub(held, 2)
  local job = read_job(holder)
  return job ~= '' and dedup_of(job) == dedup and holder or nil
end

-- Which job waits behind `holder` for a dedup key, and how it will hold it; nil when none does.
local function waiting_for(dedup, holder)
  local value = redis.call('HGET', base .. 'n:' .. dedup, holder)
  if not value then
    return nil
  end
  local length = string.byte(value)
  return {
    id = string.sub(value, 2, length + 1),
    scope = string.sub(value, length + 2, length + 2),
    ttl = string.sub(value, length + 3),
  }
end

local function wait_for(dedup, holder, id, scope, ttl)
  redis.call('HSET', base .. 'n:' .. dedup, holder, string.char(#id) .. id .. scope .. ttl)
end

-- A job need not wait for `ended` any more, and holds the key unless yet another one does.
local function unblock(dedup, waiting, ended)
  local id = waiting.id
  local job = read_job(id)
  if job == '' or state_in(job) ~= 'B' then
    return
  end
  leave(key.blocked, id)
  local at = time_in(job, head.at)
  if at > tonumber(now) then
    write_state(id, job, 'S', string.sub(job, head.at, head.at + 7))
    enter(key.scheduled, id, plain(at))
    tell('u', now .. ';S' .. string.char(#id) .. id)
  else
    local moment = struct.pack('>I8', tonumber(now))
    write_state(id, job, 'R', moment)
    push_ready('RPUSH', line_of(job), { new_entry('back', moment, id) })
    tell('u', now .. ';R' .. string.char(#id) .. id)
  end
  local holder = holder_of(dedup)
  if not holder or holder == ended then
    hold(dedup, waiting.scope, id, waiting.ttl)
  end
end

-- A job's end gives its dedup key free, if its scope says so or the job is `gone`.
local function free(dedup, id, gone)
  local holder = redis.call('GET', base .. 'd:' .. dedup)
  if holder == 'U' .. id or holder == 'S' .. id or (gone and holder == 'W' .. id) then
    redis.call('DEL', base .. 'd:' .. dedup)
  end
  -- It may have one behind it, or stand behind another that held the key in its time.
  local behind = redis.call('HKEYS', base .. 'n:' .. dedup)
  for i = 1, math.min(#behind, 100) do
    local waiting = waiting_for(dedup, behind[i])
    if behind[i] == id or waiting.id == id then
      redis.call('HDEL', base .. 'n:' .. dedup, behind[i])
    end
    if behind[i] == id then
      unblock(dedup, waiting, id)
    end
  end
end

local pending = { S = key.scheduled, T = key.retrying, B = key.blocked }

-- True when the job of a transition is as its guard has it: state, time, leases, revision.
local function is_standing(t, guard)
  t.old, t.before = read_job(t.id), string.sub(guard, 1, 1)
  return not lease_of(t.id)
    and string.sub(t.old, head.state, head.counters + 3) == string.sub(guard, 1, 13)
    and string.sub(t.old, head.revision, head.revision + 3) == string.sub(guard, 14)
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

-- What a move of a standing job changes beside its record and the index of its new state.
local function leave_standing(t)
  leave_index(t)
  if expiry_of(t.old) then
    leave(key.expiring, t.id)
  end
  if t.spec ~= '' then
    local before, after = extras_of(t.old), extras_of(join(t.spec))
    if before then
      unindex(t.id, before)
    end
    if after then
      index(t.id, after)
    end
  end
end
