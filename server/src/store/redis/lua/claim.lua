-- Takes ready jobs in order and leases them, where no gate holds the queue back, no list holds stale
-- entries and no two lines are of one priority: what most queues are. What it can't do it leaves
-- alone, for claim_any.lua. Written as insert.lua is.
--
-- Arguments: events to keep, default lease in ms, default attempt timeout in ms, how long in ms to
--   remember the request of a claim beyond its leases, number of claims; per claim: limit, bytes,
--   lease in ms or '', lease (codec.rs), worker, request id or ''.
-- Reply: 'any' if nothing was done; else per claim 1 if no job was left for it, else 0; the end of its
--   leases; then jobs: id and record, or for one that is not as it was enqueued or has timeouts of its
--   own a list of what job.lua's answer() makes.
-- Touches: ready lists, leased, leases, expiring, dedup keys, remembered claims, events.
local raw, claims = redis.call('GET', KEYS[10]), tonumber(ARGV[11])
local now = tonumber(ARGV[6])
local want, room, largest, total = 0, 0, 0, 0
if raw then
  if string.byte(raw) % 4 ~= 0 then
    return 'any'
  end
  total = struct.unpack('>d', raw, 58)
  largest = struct.unpack('>d', raw, 130)
end
for i = 12, 6 + 6 * claims, 6 do
  want = want + ARGV[i]
  room = room + ARGV[i + 1]
  if ARGV[i + 5] ~= '' and redis.call('EXISTS', ARGV[1] .. 'c:' .. ARGV[i + 5]) == 1 then
    return 'any'
  end
end
-- So many lines are looked at in one call.
local lines = redis.call('ZRANGE', KEYS[1], 0, 15, 'WITHSCORES')
for i = 2, #lines - 2, 2 do
  if lines[i] == lines[i + 2] then
    return 'any'
  end
end

local found, taken, segments, exhausted = {}, 0, {}, #lines < 32
for i = 1, #lines, 2 do
  local entries = redis.call('LPOP', ARGV[1] .. 'r:' .. lines[i], want - taken)
  if entries then
    for j = 1, #entries do
      found[taken + j] = entries[j]
    end
    taken = taken + #entries
    segments[#segments + 1] = { lines[i], lines[i + 1], taken }
  end
  if taken == want then
    exhausted = false
    break
  end
  redis.call('ZREM', KEYS[1], lines[i])
end

-- Records may be large: where all could be too much, as many are read as fit.
local ids, fit, size = {}, taken, 0
for i = 1, taken do
  ids[i] = string.sub(found[i], 13)
end
if total > room and largest * taken > room then
  for i = 1, taken do
    size = size + redis.call('HSTRLEN', KEYS[16], ids[i]) + 256
    if size > room and i > 1 then
      fit = i - 1
      break
    end
  end
end
local records, courses = {}, {}
if fit > 0 then
  records = redis.call('HMGET', KEYS[16], unpack(ids, 1, fit))
  courses = redis.call('HMGET', KEYS[17], unpack(ids, 1, fit))
end

-- A job that went another way or has lapsed gives its place to one behind it.
local next_job, is_sound = 1, true
for i = 1, fit do
  local record, course = records[i], courses[i]
  if not record or (course and string.byte(course, 2) or string.byte(record, 11)) ~= 82 then
    is_sound = false
  elseif string.byte(record) % 2 == 1 then
    local at = 18 + string.byte(record, 8)
    while string.sub(record, at, at) ~= 'x' do
      at = at + 3 + struct.unpack('>I2', record, at + 1)
    end
    is_sound = is_sound and struct.unpack('>I8', record, at + 3) > now
  end
end

local replies, told, events, no_attempts = {}, {}, 0, '\0\0\0\0'
local deadlines, leases, soonest = {}, {}, math.huge
for p = 12, 6 + 6 * claims, 6 do
  local limit, most, asked = tonumber(ARGV[p]), tonumber(ARGV[p + 1]), tonumber(ARGV[p + 2])
  local prefix, worker, request = ARGV[p + 3], ARGV[p + 4], ARGV[p + 5]
  local usual = now + math.min(asked or ARGV[8], ARGV[9])
  local usual_text = string.format('%.0f', usual)
  local reply, number, used, longest = { 0, usual_text }, 0, 0, 0
  local event = { ARGV[6], ';', string.char(#worker), worker }
  local memory = request ~= '' and { string.sub(prefix, 1, 8) }
  while is_sound and number < limit and next_job <= fit do
    local id, record, course = ids[next_job], records[next_job], courses[next_job]
    local details, bytes = nil, #record + 256
    if course and string.byte(course) == 49 then
      details = redis.call('HGETALL', ARGV[1] .. 'm:' .. id)
      for n = 1, #details do
        bytes = bytes + #details[n]
      end
    end
    if number > 0 and used + bytes > most then
      break
    end
    local ends, text, kind = usual, usual_text, string.byte(record)
    if kind ~= 64 then
      -- It expires, has timeouts of its own, or holds a dedup key only until now.
      local at, high, low = 18 + string.byte(record, 8), string.byte(record, 9, 10)
      local last = at + high * 256 + low
      while at < last do
        local what, length = string.sub(record, at, at), struct.unpack('>I2', record, at + 1)
        if what == 'u' then
          local key = ARGV[1] .. 'd:' .. string.sub(record, at + 3, at + 2 + length)
          if redis.call('GET', key) == 'S' .. id then
            redis.call('DEL', key)
          end
        elseif what == 'o' then
          local own, timeout = struct.unpack('>I4I4', record, at + 3)
          own, timeout = own > 0 and own or ARGV[8], timeout > 0 and timeout or ARGV[9]
          ends = now + math.min(asked or own, timeout)
          text = string.format('%.0f', ends)
        end
        at = at + 3 + length
      end
      if kind % 2 == 1 then
        redis.call('ZREM', KEYS[7], id)
      end
    end
    number, used = number + 1, used + bytes
    local lease = prefix .. struct.pack('>I4', #record) .. worker
    local n = #deadlines + 1
    deadlines[n], deadlines[n + 1] = text, id
    leases[n], leases[n + 1] = id, lease
    soonest, longest = math.min(soonest, ends), math.max(longest, ends - now)
    local entry = found[next_job]
    n = #event + 1
    event[n], event[n + 1] = string.char(#entry), entry
    event[n + 2] = course and string.sub(course, 15, 18) or no_attempts
    n = #reply + 1
    if not course and text == usual_text then
      reply[n], reply[n + 1] = id, record
    else
      reply[n] = { id, record, course, text, lease, details or {} }
    end
    if memory then
      memory[number + 1] = string.char(#id) .. id
    end
    next_job = next_job + 1
  end
  if number > 0 then
    told[#told + 1] = 'l'
    told[#told + 1] = table.concat(event)
    events = events + number
    if memory then
      -- Who asks again did not get the answer, so cannot have extended the leases.
      local span = string.format('%.0f', longest + ARGV[10])
      redis.call('SET', ARGV[1] .. 'c:' .. request, table.concat(memory), 'PX', span)
    end
  end
  if exhausted and next_job > taken then
    reply[1] = 1
  end
  replies[#replies + 1] = reply
end

-- What did not fit, or all, goes back to where it was.
for s = #segments, 1, -1 do
  local line, score, last = unpack(segments[s])
  local first = math.max(next_job, s > 1 and segments[s - 1][3] + 1 or 1)
  for i = last, first, -1 do
    redis.call('LPUSH', ARGV[1] .. 'r:' .. line, found[i])
  end
  if last >= first then
    redis.call('ZADD', KEYS[1], score, line)
  end
end

if events > 0 then
  redis.call('HSET', KEYS[6], unpack(leases))
  redis.call('ZADD', KEYS[5], unpack(deadlines))
  local earliest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')[2]
  if tonumber(earliest) == soonest then
    redis.call('PUBLISH', ARGV[4], earliest .. ' ' .. ARGV[2])
  end
  --@log
end
if is_sound then
  return replies
end
return 'any'
