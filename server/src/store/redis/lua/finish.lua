-- Ends leased jobs that succeeded, hold no dedup key and bring no follow-ups: what most settles are.
-- All of them or, if a lease is lost, none. What it can't do it leaves alone, for commit_any.lua.
-- Written as insert.lua is.
--
-- Arguments: numbers (scripts.rs): how many finished jobs to keep, how many there may be before the
--   others are forgotten, 0 to forget these at once; events, arguments for the log, for groups of jobs
--   that follow each other and ended alike, and for results; then these arguments: forms and bodies of
--   the log; per group two numbers, its jobs and their purge time, their secret and their course with
--   the attempt that ended it (codec.rs); per result the place of its job, counted from 1, and the
--   result; then all ids, none twice.
-- Reply: 'any' if nothing was done; else the places of jobs whose lease is lost, counted from 1: if
--   there are any, nothing was done.
-- Touches: jobs, courses, details, leased, leases, finished, ledger, events.
local raw = redis.call('GET', KEYS[10])
-- Finished jobs with labels or owners are in more indexes.
if not raw or string.byte(raw) >= 4 then
  return 'any'
end
local sub = string.sub
local keep, most, events, told, groups, results =
  struct.unpack('>I8I8I8I8I8I8', ARGV[3])
local group_at, told = 4 + told, { unpack(ARGV, 4, 3 + told) }
local result_at = group_at + groups
local first, last = result_at + results, #ARGV
local number = last - first + 1

-- Leases of one claim are one text, as long as their jobs are of one size: looked at once.
local leases = redis.call('HMGET', KEYS[6], unpack(ARGV, first, last))
local i, size, missing, doomed, detailed = 0, 0, {}, {}, {}
for group = group_at, result_at - 1 do
  local till, secret = i + struct.unpack('>I8', ARGV[group]), sub(ARGV[group], 17, 24)
  local known, width = nil, 0
  local is_doomed, is_detailed = false, false
  while i < till do
    i = i + 1
    local lease = leases[i]
    if lease ~= known and sub(lease or '', 1, 8) == secret then
      known, width = lease, struct.unpack('>I4', lease, 62)
      is_doomed = sub(lease, 21, 28) ~= '\0\0\0\0\0\0\0\0'
      is_detailed = string.byte(lease, 29) == 49
    end
    if lease == known then
      size = size + width
      if is_doomed then
        doomed[#doomed + 1] = i
      end
      if is_detailed then
        detailed[i] = true
      end
    else
      missing[#missing + 1] = i
    end
  end
end
if #missing > 0 then
  return missing
end
--@ledger

-- This goes first: a script that has written is not refused when memory runs out, and settles make room.
redis.call('ZREM', KEYS[5], unpack(ARGV, first, last))
redis.call('HDEL', KEYS[6], unpack(ARGV, first, last))
local gone, old = nil, {}
if most == 0 then
  gone = { unpack(ARGV, first, last) }
  for i in pairs(detailed) do
    old[#old + 1] = ARGV[1] .. 'm:' .. gone[i]
  end
else
  for _, i in ipairs(doomed) do
    redis.call('HDEL', ARGV[1] .. 'm:' .. ARGV[first + i - 1], 'x')
  end
  for j = result_at, first - 1, 2 do
    local i = tonumber(ARGV[j])
    redis.call('HSET', ARGV[1] .. 'm:' .. ARGV[first + i - 1], 'r', ARGV[j + 1])
    detailed[i] = true
  end
  local courses, purges, soonest, i, n = {}, {}, math.huge, 0, 0
  for group = group_at, result_at - 1 do
    local number, time = struct.unpack('>I8I8', ARGV[group])
    local till, course, purge = i + number, sub(ARGV[group], 25), string.format('%.0f', time)
    soonest = math.min(soonest, time)
    while i < till do
      local id = ARGV[first + i]
      i = i + 1
      courses[n + 1], courses[n + 2] = id, course
      purges[n + 1], purges[n + 2] = purge, id
      if detailed[i] then
        courses[n + 2] = '1' .. sub(course, 2)
      end
      n = n + 2
    end
  end
  redis.call('HSET', KEYS[17], unpack(courses))
  redis.call('ZADD', KEYS[12], unpack(purges))
  --@due
  local finished = redis.call('ZCARD', KEYS[12])
  if finished > most then
    -- Not popped: that would write out a time for each.
    local excess = string.format('%d', math.min(finished - keep, 1000) - 1)
    gone = redis.call('ZRANGE', KEYS[12], '0', excess)
    redis.call('ZREMRANGEBYRANK', KEYS[12], '0', excess)
    local courses_gone = redis.call('HMGET', KEYS[17], unpack(gone))
    for i = 1, #gone do
      if courses_gone[i] and string.byte(courses_gone[i]) == 49 then
        old[#old + 1] = ARGV[1] .. 'm:' .. gone[i]
      end
    end
  end
end
if gone then
  --@forget
  redis.call('HDEL', KEYS[17], unpack(gone))
  if #old > 0 then
    redis.call('UNLINK', unpack(old))
  end
end
jobs, bytes, succeeded = jobs - number, bytes - size, succeeded + number
if jobs == 0 then
  largest = 0
end
local what, happened = 1, number
--@write_ledger
--@log
-- A lease fewer lets another job run where their number is limited.
if max_leased >= 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('PUBLISH', READY_CHANNEL, ' ' .. sub(ARGV[1], QUEUE_FROM, -3))
end
return missing
