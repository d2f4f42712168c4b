-- Inserts jobs that are ready and have nothing special, in a queue that has room for all: what most
-- calls are. What it can't do it leaves alone, for insert_any.lua.
--
-- Written without functions, and with as little work per job as there can be: making and running them
-- would cost more than all commands together. Numbers go to commands as text: Redis would print them
-- with all digits of a double.
--
-- Arguments: who inserts; numbers (scripts.rs): how many jobs and how many bytes of them the queue may
--   hold, jobs, bytes of their records and of the largest, 1 if ids may be taken, events, arguments for
--   requests, the log, lines, entries of the hash of records, pages; then these arguments: per request
--   its id and what is remembered; forms and bodies of the log; per line two numbers, the negative of
--   its priority and how many jobs, and its name; entries of the hash of records; per page its name and
--   which of its jobs live (pages.lua); then per job, in the order of the lines, since when it is ready
--   (6 bytes) and its id.
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
local most, most_bytes, added, size, record_size, may_be_taken, events, asked, told, lines, records,
  paged = struct.unpack('>I8I8I8I8I8I8I8I8I8I8I8I8', ARGV[4])
if jobs + added > most or bytes + size > most_bytes then
  return 'any'
end
local asked, forms = 5, 5 + asked
local line, told = forms + told, { unpack(ARGV, forms, forms + told - 1) }
local record = line + lines
local page = record + records
local first, last = page + paged, page - 1
if may_be_taken == 1 then
  local ids = {}
  for i = 1, added do
    ids[i] = string.sub(ARGV[first + i - 1], 7)
  end
  --@taken
end
--@enter
if paged > 0 then
  redis.call('HSET', KEYS[18], unpack(ARGV, page, first - 1))
end
local place, pack = 140737488355328 + back, struct.pack
for i = line, record - 1 do
  local score, number, at = struct.unpack('>i8I8', ARGV[i])
  local entries, name = {}, string.sub(ARGV[i], at)
  for j = 1, number do
    place = place + 1
    entries[j] = pack('>I6', place) .. ARGV[first]
    first = first + 1
  end
  if redis.call('RPUSH', ARGV[1] .. 'r:' .. name, unpack(entries)) == number then
    redis.call('ZADD', KEYS[1], string.format('%.0f', score), name)
    -- A new queue is news for its own broker too.
    local origin, queue = is_new == 1 and '' or ARGV[3], string.sub(ARGV[1], QUEUE_FROM, -3)
    redis.call('PUBLISH', READY_CHANNEL, origin .. ' ' .. queue)
  end
end
back, enqueued = back + added, enqueued + added
jobs, bytes = jobs + added, bytes + size
largest = math.max(largest, record_size)
local what, happened = 0, added
--@write_ledger
--@log
return is_new
