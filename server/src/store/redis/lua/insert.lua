-- Inserts jobs that are ready and have nothing special, in a queue that has room for all: what most
-- calls are. What it can't do it leaves alone, for insert_any.lua.
--
-- Written without functions, and with as little work per job as there can be: making and running them
-- would cost more than all commands together. Numbers go to commands as text: Redis would print them
-- with all digits of a double.
--
-- Arguments: events to keep, request memory in ms, who inserts; how many jobs and how many bytes of
--   them the queue may hold or ''; jobs, bytes of their records and the largest; number of events;
--   '1' if ids may be taken; number of forms and bodies of the log, these; number of requests, per request
--   its id and what is remembered; number of lines; per line its name, the negative of its priority,
--   its number of jobs; number of entries of the hash of records, these; number of pages among them, per
--   page its name and which of its jobs live (pages.lua); then per job, in the order of the lines, since
--   when it is ready (6 bytes) and its id.
-- Reply: 1 if the queue is new, else 0; or 'any' if nothing was done.
-- Touches: jobs, requests, ready lists, ledger, events.
local raw, is_new = redis.call('GET', KEYS[10]), 0
if not raw then
  local time = redis.call('TIME')
  raw = '\0' .. struct.pack(
    '>dddddddddddddddddd', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0,
    time[1] * 1000000 + time[2], 0, 0
  ) .. string.rep('\0', 104)
  is_new = 1
end
--@ledger
local added, size = tonumber(ARGV[12]), tonumber(ARGV[13])
if
  (ARGV[10] ~= '' and jobs + added > tonumber(ARGV[10]))
  or (ARGV[11] ~= '' and bytes + size > tonumber(ARGV[11]))
then
  return 'any'
end
local events = ARGV[15]
local at = 17 + ARGV[17]
local told = { unpack(ARGV, 18, at) }
local asked = at + 1
local lines = asked + 2 * ARGV[asked] + 1
local records = lines + 3 * ARGV[lines] + 1
local paged = records + 2 * ARGV[records] + 1
local first = paged + 2 * ARGV[paged] + 1
if ARGV[16] == '1' then
  local ids = {}
  for i = 1, added do
    ids[i] = string.sub(ARGV[first + i - 1], 7)
  end
  --@taken
end
local memory, record, last = ARGV[8], records + 1, paged - 1
--@enter
if ARGV[paged] ~= '0' then
  redis.call('HSET', KEYS[18], unpack(ARGV, paged + 1, first - 1))
end
local place, pack = 140737488355328 + back, struct.pack
for i = lines + 1, records - 1, 3 do
  local entries, number = {}, tonumber(ARGV[i + 2])
  for j = 1, number do
    place = place + 1
    entries[j] = pack('>I6', place) .. ARGV[first]
    first = first + 1
  end
  if redis.call('RPUSH', ARGV[1] .. 'r:' .. ARGV[i], unpack(entries)) == number then
    redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
    -- A new queue is news for its own broker too.
    redis.call('PUBLISH', ARGV[3], (is_new == 1 and '' or ARGV[9]) .. ' ' .. ARGV[2])
  end
end
back, enqueued = back + added, enqueued + added
jobs, bytes = jobs + added, bytes + size
largest = math.max(largest, tonumber(ARGV[14]))
local what, happened = 0, added
--@write_ledger
--@log
return is_new
