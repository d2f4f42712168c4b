-- Inserts jobs of one line that are ready and have nothing special, and leases them to those who wait:
-- where no gate holds the queue back and nothing else in it is ready. What it can't do it leaves alone,
-- for the scripts that insert and claim. Written as insert.lua is.
--
-- Arguments: who inserts; numbers (scripts.rs): how many jobs and how many bytes of them the queue may
--   hold, jobs, bytes of their records and of the largest, 1 if ids may be taken, arguments for
--   requests, the log, claims; the negative of the priority; the line; then these arguments: per request
--   its id and what is remembered; forms and bodies of the log; per claim as for claim.lua; then per job
--   id and record, ids of one length.
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
local most, most_bytes, added, size, record_size, may_be_taken, asked, told, claims =
  struct.unpack('>I8I8I8I8I8I8I8I8I8', ARGV[4])
if jobs + added > most or bytes + size > most_bytes then
  return 'any'
end
local asked, forms = 7, 7 + asked
local claim, told = forms + told, { unpack(ARGV, forms, forms + told - 1) }
local record, last = claim + claims, #ARGV
for p = claim, record - 1, 3 do
  if ARGV[p + 2] ~= '' and redis.call('EXISTS', ARGV[1] .. 'c:' .. ARGV[p + 2]) == 1 then
    return 'any'
  end
end
local ids = {}
for i = 1, added do
  ids[i] = ARGV[record + 2 * i - 2]
end
if may_be_taken == 1 then
  --@taken
end

--@enter
if #lines > 0 then
  -- The next call need not look whether they are empty.
  redis.call('ZREM', KEYS[1], unpack(lines))
end
local entries, place, pack, sub = {}, 140737488355328 + back, struct.pack, string.sub
for i = 1, added do
  entries[i] = pack('>I6', place + i) .. sub(ARGV[record + 2 * i - 1], 12, 17) .. ids[i]
end

local events, length, no_attempts = added, string.char(#entries[1]), '\0\0\0\0'
local now, given, replies, leases, deadlines, soonest = tonumber(ARGV[2]), 0, {}, {}, {}, math.huge
for p = claim, record - 1, 3 do
  local limit, room, own = struct.unpack('>I8I8xxxxxxxxxxxxxxxxI4', ARGV[p])
  local prefix, worker, request = sub(ARGV[p], 17), ARGV[p + 1], ARGV[p + 2]
  local ends = now + math.min(own > 0 and own or DEFAULT_LEASE, DEFAULT_TIMEOUT)
  local text, begin, used, lease, width = string.format('%.0f', ends), given + 1, 0, nil, nil
  while given < added and given - begin + 1 < limit do
    local bytes = #ARGV[record + 2 * given + 1]
    used = used + bytes + 256
    if given >= begin and used > room then
      break
    end
    given = given + 1
    if bytes ~= width then
      width = bytes
      lease = prefix .. pack('>I4', width) .. worker
    end
    leases[2 * given - 1], leases[2 * given] = ids[given], lease
    deadlines[2 * given - 1], deadlines[2 * given] = text, ids[given]
  end
  replies[#replies + 1], replies[#replies + 2] = given - begin + 1, text
  if given >= begin then
    soonest = math.min(soonest, ends)
    told[#told + 1] = 'l'
    told[#told + 1] = ARGV[2] .. ';' .. string.char(#worker) .. worker .. length
      .. table.concat(entries, no_attempts .. length, begin, given) .. no_attempts
    events = events + given - begin + 1
    if request ~= '' then
      local memory = { sub(prefix, 1, 8) }
      for i = begin, given do
        memory[#memory + 1] = string.char(#ids[i]) .. ids[i]
      end
      local span = string.format('%.0f', ends - now + CLAIM_SLACK)
      redis.call('SET', ARGV[1] .. 'c:' .. request, table.concat(memory), 'PX', span)
    end
  end
end

if given > 0 then
  --@lease
end
if given < added then
  redis.call('RPUSH', ARGV[1] .. 'r:' .. ARGV[6], unpack(entries, given + 1))
  redis.call('ZADD', KEYS[1], ARGV[5], ARGV[6])
  redis.call('PUBLISH', READY_CHANNEL, ARGV[3] .. ' ' .. sub(ARGV[1], QUEUE_FROM, -3))
end
back, enqueued = back + added, enqueued + added
jobs, bytes = jobs + added, bytes + size
largest = math.max(largest, record_size)
local what, happened = 0, added
--@write_ledger
--@log
return replies
