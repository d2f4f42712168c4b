-- Shared by every script of a queue: names for what all of them are given.
--
-- KEYS, all of one queue, so of one cluster slot; see keys.rs:
local key = {
  lines = KEYS[1], -- zset: line in use -> its negative priority
  scheduled = KEYS[2], -- zset: job id -> due time
  retrying = KEYS[3], -- zset: job id -> due time
  blocked = KEYS[4], -- zset: job id -> create time
  leased = KEYS[5], -- zset: job id -> end of its visibility timeout
  leases = KEYS[6], -- hash: job id -> lease
  expiring = KEYS[7], -- zset: id of a pending job -> its expiry
  events = KEYS[8], -- stream: one entry per script call that moved something
  number = KEYS[9], -- string: number of the newest stream entry
  ledger = KEYS[10], -- string: counters and gates; see ledger.lua
  settings = KEYS[11], -- string: settings; see configure.lua
  finished = { K = KEYS[12], D = KEYS[13], C = KEYS[14], E = KEYS[15] }, -- zsets: job id -> purge time
  jobs = KEYS[16], -- hash: job id -> record, or page -> records; see codec.rs and pages.lua
  courses = KEYS[17], -- hash: job id -> course, of jobs that are not as they were enqueued
  live = KEYS[18], -- hash: page -> which of its jobs are still there
}
-- ARGV: what begins the queue's other keys, `{namespace:queue}:`, and the present millisecond. Names in
-- capitals are constants, see scripts.rs. A ready message may name who inserts: that one knows already.
local base, now = ARGV[1], ARGV[2]
local queue = string.sub(base, QUEUE_FROM, -3)
local channel = { ready = READY_CHANNEL, due = DUE_CHANNEL, logged = LOG_CHANNEL }
-- Who inserts, in scripts that do; see insert_any.lua.
local origin = ''

local argument = 2
-- The next argument.
local function take()
  argument = argument + 1
  return ARGV[argument]
end

-- Scripts that are not on the hot path see a job as its course, then its record (codec.rs): where
-- things stand there, counted from 1.
local head = {
  flags = 1, state = 2, at = 3, counters = 11, started = 23, kind = 39, priority = 40,
  revision = 42, type = 46, extras = 47, begun = 49, size = 55,
}
-- The length of a course without the attempt that may stand behind it.
local course_size = 38

-- Positions in a lease.
local lease_part = { cancel = 21, details = 29, size = 62, worker = 66 }

-- A time that is not set.
local never = string.rep('\0', 8)

local function details_key(id)
  return base .. 'm:' .. id
end

-- A number as text, without an exponent.
local function plain(number)
  return string.format('%.0f', number)
end

-- What the stream entry of this call will hold: form, body, form, body…
local log, worker_told, events_told = {}, nil, 0

-- `events`: how many the body tells, if not one.
local function tell(form, body, events)
  log[#log + 1] = form
  log[#log + 1] = body
  events_told = events_told + (events or 1)
end

-- An encoded event; `worker` is told where the event does not name its own.
local function tell_event(event, worker)
  if worker and worker ~= worker_told then
    tell('w', worker, 0)
    worker_told = worker
  end
  tell('b', event)
end

-- Shortens the stream to about as many events as are kept. An entry may hold those of a whole batch, so some
-- entries at both ends tell how many entries that is.
local function trim_log()
  local entries, events = 0, 0
  for _, walk in ipairs({ { 'XRANGE', '-', '+' }, { 'XREVRANGE', '+', '-' } }) do
    for _, entry in ipairs(redis.call(walk[1], key.events, walk[2], walk[3], 'COUNT', 4)) do
      local fields = entry[2]
      entries = entries + 1
      events = events + (fields[3] == 'v' and tonumber(fields[4]) or 1)
    end
  end
  redis.call('XTRIM', key.events, 'MAXLEN', '~', math.ceil(EVENTS_KEPT * entries / events))
end

-- Writes the stream entry. Encoded events in a row are joined: joined encodings are an encoding.
local function write_log()
  if #log == 0 then
    return
  end
  local fields, run = {}, {}
  if events_told > 1 then
    fields = { 'v', events_told }
  end
  for i = 1, #log, 2 do
    if log[i] == 'b' then
      run[#run + 1] = log[i + 1]
    end
    if #run > 0 and log[i + 2] ~= 'b' then
      fields[#fields + 1] = 'b'
      fields[#fields + 1] = table.concat(run)
      run = {}
    end
    if log[i] ~= 'b' then
      fields[#fields + 1] = log[i]
      fields[#fields + 1] = log[i + 1]
    end
  end
  local number = redis.call('INCR', key.number)
  redis.call('XADD', key.events, 'MAXLEN', '~', EVENTS_KEPT, '*', 'n', number, unpack(fields))
  if number % 64 == 0 then
    trim_log()
  end
  redis.call('PUBLISH', channel.logged, queue)
end

-- Adds score, id, score, id… to a zset of times, and says so if one of them is the earliest now.
local function add_times(zset, times)
  redis.call('ZADD', zset, unpack(times))
  local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
  for i = 2, #times, 2 do
    if times[i] == first[1] then
      redis.call('PUBLISH', channel.due, first[2] .. ' ' .. queue)
      return
    end
  end
end
