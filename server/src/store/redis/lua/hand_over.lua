-- Inserts jobs of one line that are ready and have nothing special, and leases them to those who wait:
-- where no gate holds the queue back and nothing else in it is ready. What it can't do it leaves alone,
-- for the scripts that insert and claim. Written as insert.lua is.
--
-- Arguments: events to keep, default lease in ms, default attempt timeout in ms, request memory in ms,
--   who inserts; how many jobs and how many bytes of them the queue may hold or ''; jobs, bytes of their
--   records and the largest; '1' if ids may be taken; line, the negative of its priority; how long in ms
--   to remember the request of a claim beyond its leases; number of claims, per claim as for claim.lua;
--   number of requests, per request its id and what is remembered; number of forms and
--   bodies of the log, these; then per job id and record, ids of one length.
-- Reply: 'any' if nothing was done; else per claim how many jobs it got and the end of their leases.
-- Touches: jobs, requests, remembered claims, ready lists, leased, leases, ledger, events.
local raw = redis.call('GET', KEYS[10])
if not raw or string.byte(raw) % 4 ~= 0 then
  return 'any'
end
-- A line of which a claim took the last job stands until another one finds it empty.
local lines = redis.call('ZRANGE', KEYS[1], '0', '16')
if #lines > 16 then
  return 'any'
end
for _, line in ipairs(lines) do
  if redis.call('EXISTS', ARGV[1] .. 'r:' .. line) == 1 then
    return 'any'
  end
end
--@ledger
local added, size = tonumber(ARGV[14]), tonumber(ARGV[15])
if
  (ARGV[12] ~= '' and jobs + added > tonumber(ARGV[12]))
  or (ARGV[13] ~= '' and bytes + size > tonumber(ARGV[13]))
then
  return 'any'
end
local claims = 21
local asked = claims + 6 * ARGV[claims] + 1
local forms = asked + 2 * ARGV[asked] + 1
local first = forms + ARGV[forms] + 1
for p = claims + 1, asked - 1, 6 do
  if ARGV[p + 5] ~= '' and redis.call('EXISTS', ARGV[1] .. 'c:' .. ARGV[p + 5]) == 1 then
    return 'any'
  end
end
local ids = {}
for i = 1, added do
  ids[i] = ARGV[first + 2 * i - 2]
end
if ARGV[17] == '1' then
  --@taken
end

local memory, record, last = ARGV[10], first, #ARGV
--@enter
if #lines > 0 then
  -- The next call need not look whether they are empty.
  redis.call('ZREM', KEYS[1], unpack(lines))
end
local entries, place, pack, sub = {}, 140737488355328 + back, struct.pack, string.sub
for i = 1, added do
  entries[i] = pack('>I6', place + i) .. sub(ARGV[first + 2 * i - 1], 12, 17) .. ids[i]
end

local told, events = { unpack(ARGV, forms + 1, first - 1) }, added
local length, no_attempts = string.char(#entries[1]), '\0\0\0\0'
local now, given, replies, leases, deadlines, soonest = tonumber(ARGV[6]), 0, {}, {}, {}, math.huge
for p = claims + 1, asked - 1, 6 do
  local limit, most, own = tonumber(ARGV[p]), tonumber(ARGV[p + 1]), tonumber(ARGV[p + 2])
  local prefix, worker, request = ARGV[p + 3], ARGV[p + 4], ARGV[p + 5]
  local ends = now + math.min(own or ARGV[8], ARGV[9])
  local text, begin, used, lease, width = string.format('%.0f', ends), given + 1, 0, nil, nil
  while given < added and given - begin + 1 < limit do
    local record = #ARGV[first + 2 * given + 1]
    used = used + record + 256
    if given >= begin and used > most then
      break
    end
    given = given + 1
    if record ~= width then
      width = record
      lease = prefix .. pack('>I4', width) .. worker
    end
    leases[2 * given - 1], leases[2 * given] = ids[given], lease
    deadlines[2 * given - 1], deadlines[2 * given] = text, ids[given]
  end
  replies[#replies + 1], replies[#replies + 2] = given - begin + 1, text
  if given >= begin then
    soonest = math.min(soonest, ends)
    told[#told + 1] = 'l'
    told[#told + 1] = ARGV[6] .. ';' .. string.char(#worker) .. worker .. length
      .. table.concat(entries, no_attempts .. length, begin, given) .. no_attempts
    events = events + given - begin + 1
    if request ~= '' then
      local memory = { sub(prefix, 1, 8) }
      for i = begin, given do
        memory[#memory + 1] = string.char(#ids[i]) .. ids[i]
      end
      local span = string.format('%.0f', ends - now + ARGV[20])
      redis.call('SET', ARGV[1] .. 'c:' .. request, table.concat(memory), 'PX', span)
    end
  end
end

if given > 0 then
  --@lease
end
if given < added then
  redis.call('RPUSH', ARGV[1] .. 'r:' .. ARGV[18], unpack(entries, given + 1))
  redis.call('ZADD', KEYS[1], ARGV[19], ARGV[18])
  redis.call('PUBLISH', ARGV[3], ARGV[11] .. ' ' .. ARGV[2])
end
back, enqueued = back + added, enqueued + added
jobs, bytes = jobs + added, bytes + size
largest = math.max(largest, tonumber(ARGV[16]))
local what, happened = 0, added
--@write_ledger
--@log
return replies
