-- Ends leased jobs that succeeded, hold no dedup key and bring no follow-ups: what most settles are.
-- All of them or, if a lease is lost, none. What it can't do it leaves alone, for commit_any.lua.
-- Written as insert.lua is.
--
-- Arguments: events to keep, how many finished jobs to keep: a number, '' for any number, 'none' to
--   forget these at once; number of jobs; number of events; number of forms and bodies of the log,
--   these; per job: id, secret, course with the attempt that ended it (codec.rs), purge time, result
--   or ''. No job twice.
-- Reply: 'any' if nothing was done; else the places of jobs whose lease is lost, counted from 1: if
--   there are any, nothing was done.
-- Touches: jobs, courses, details, leased, leases, finished, ledger, events.
-- A script that has written already is not refused when memory runs out, and settles make room.
redis.call('UNLINK', ARGV[1] .. 'o')

local raw = redis.call('GET', KEYS[10])
-- Finished jobs with labels or owners are in more indexes.
if not raw or string.byte(raw) >= 4 then
  return 'any'
end
local keep, number, events = ARGV[8], tonumber(ARGV[9]), ARGV[10]
local at = 11 + ARGV[11]
local told = { unpack(ARGV, 12, at) }
at = at + 1
local ids = {}
for i = 1, number do
  ids[i] = ARGV[at + 5 * i - 5]
end
local leases, missing = redis.call('HMGET', KEYS[6], unpack(ids)), {}
for i = 1, number do
  if not leases[i] or string.sub(leases[i], 1, 8) ~= ARGV[at + 5 * i - 4] then
    missing[#missing + 1] = i
  end
end
if #missing > 0 then
  return missing
end

local before, size, left = redis.call('HMGET', KEYS[17], unpack(ids)), 0, {}
for i = 1, number do
  size = size + struct.unpack('>I4', leases[i], 29)
  if before[i] and string.byte(before[i]) == 49 then
    left[#left + 1] = ARGV[1] .. 'm:' .. ids[i]
  end
end
redis.call('ZREM', KEYS[5], unpack(ids))
redis.call('HDEL', KEYS[6], unpack(ids))
if keep == 'none' then
  redis.call('HDEL', KEYS[16], unpack(ids))
  redis.call('HDEL', KEYS[17], unpack(ids))
  if #left > 0 then
    redis.call('UNLINK', unpack(left))
  end
else
  local courses, purges = {}, {}
  for i = 1, number do
    local j = at + 5 * i - 5
    local course, result = ARGV[j + 2], ARGV[j + 4]
    if result ~= '' then
      redis.call('HSET', ARGV[1] .. 'm:' .. ids[i], 'r', result)
    end
    if result ~= '' or (before[i] and string.byte(before[i]) == 49) then
      course = '1' .. string.sub(course, 2)
    end
    if string.sub(leases[i], 21, 28) ~= '\0\0\0\0\0\0\0\0' then
      redis.call('HDEL', ARGV[1] .. 'm:' .. ids[i], 'x')
    end
    courses[2 * i - 1], courses[2 * i] = ids[i], course
    purges[2 * i - 1], purges[2 * i] = ARGV[j + 3], ids[i]
  end
  redis.call('HSET', KEYS[17], unpack(courses))
  redis.call('ZADD', KEYS[12], unpack(purges))
  local earliest = redis.call('ZRANGE', KEYS[12], 0, 0, 'WITHSCORES')
  for i = 1, number do
    if earliest[1] == ids[i] then
      redis.call('PUBLISH', ARGV[4], earliest[2] .. ' ' .. ARGV[2])
      break
    end
  end
  local excess = keep ~= '' and redis.call('ZCARD', KEYS[12]) - keep or 0
  if excess > 0 then
    -- Not popped: that would write out a time for each.
    local last, old = math.min(excess, 1000) - 1, {}
    local gone = redis.call('ZRANGE', KEYS[12], 0, last)
    redis.call('ZREMRANGEBYRANK', KEYS[12], 0, last)
    local courses_gone = redis.call('HMGET', KEYS[17], unpack(gone))
    for i = 1, #gone do
      if courses_gone[i] and string.byte(courses_gone[i]) == 49 then
        old[#old + 1] = ARGV[1] .. 'm:' .. gone[i]
      end
    end
    redis.call('HDEL', KEYS[16], unpack(gone))
    redis.call('HDEL', KEYS[17], unpack(gone))
    if #old > 0 then
      redis.call('UNLINK', unpack(old))
    end
  end
end
--@ledger
jobs, bytes, succeeded = jobs - number, bytes - size, succeeded + number
if jobs == 0 then
  largest = 0
end
local what, happened = 1, number
--@write_ledger
--@log
-- A lease fewer lets another job run where their number is limited.
if max_leased >= 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('PUBLISH', ARGV[3], ' ' .. ARGV[2])
end
return missing
