-- Takes ready jobs in order and leases them, where no gate holds the queue back, no list holds stale
-- entries and no two lines are of one priority: what most queues are. What it can't do it leaves
-- alone, for claim_any.lua. Written as insert.lua is.
--
-- Arguments: events to keep, default lease in ms, default attempt timeout in ms, how long in ms to
--   remember the request of a claim beyond its leases, number of claims; per claim: limit, bytes,
--   lease in ms or '', lease (codec.rs), worker, request id or ''.
-- Reply: 'any' if nothing was done; else per claim 1 if no job was left for it, else 0; the end of its
--   leases; ids and records of its jobs, or where one of them is not as it was enqueued or has timeouts
--   of its own, two empty lists and what job.lua's answer() makes of each.
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
local lines = redis.call('ZRANGE', KEYS[1], '0', '15', 'WITHSCORES')
for i = 2, #lines - 2, 2 do
  if lines[i] == lines[i + 2] then
    return 'any'
  end
end

local byte, sub, format = string.byte, string.sub, string.format
local found, taken, segments, exhausted = {}, 0, {}, #lines < 32
for i = 1, #lines, 2 do
  local entries = redis.call('LPOP', ARGV[1] .. 'r:' .. lines[i], format('%d', want - taken))
  if entries then
    if taken == 0 then
      found, taken = entries, #entries
    else
      for j = 1, #entries do
        found[taken + j] = entries[j]
      end
      taken = taken + #entries
    end
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
  ids[i] = sub(found[i], 13)
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
  if not record or (course and byte(course, 2) or byte(record, 11)) ~= 82 then
    is_sound = false
  elseif byte(record) % 2 == 1 then
    local at = 18 + byte(record, 8)
    while sub(record, at, at) ~= 'x' do
      at = at + 3 + struct.unpack('>I2', record, at + 1)
    end
    is_sound = is_sound and struct.unpack('>I8', record, at + 3) > now
  end
end

local replies, told, events, no_attempts = {}, {}, 0, '\0\0\0\0'
local deadlines, leases, details, soonest = {}, {}, {}, math.huge
for p = 12, 6 + 6 * claims, 6 do
  local limit, most, asked = tonumber(ARGV[p]), tonumber(ARGV[p + 1]), tonumber(ARGV[p + 2])
  local prefix, worker, request = ARGV[p + 3], ARGV[p + 4], ARGV[p + 5]
  local usual = now + math.min(asked or ARGV[8], ARGV[9])
  local usual_text = format('%.0f', usual)
  local first, last, used, latest, is_usual = next_job, next_job - 1, 0, 0, true
  local entry_length = found[first] and #found[first]
  -- Of jobs of one size the leases are one text.
  local lease, width = nil, nil
  while is_sound and last - first + 1 < limit and last < fit do
    local i = last + 1
    local id, record, course = ids[i], records[i], courses[i]
    local bytes = #record + 256
    if course and byte(course) == 49 then
      details[i] = redis.call('HGETALL', ARGV[1] .. 'm:' .. id)
      for _, part in ipairs(details[i]) do
        bytes = bytes + #part
      end
    end
    if i > first and used + bytes > most then
      break
    end
    local ends, text, kind = usual, usual_text, byte(record)
    if kind ~= 64 then
      -- It expires, has timeouts of its own, or holds a dedup key only until now.
      local at, high, low = 18 + byte(record, 8), byte(record, 9, 10)
      local stop = at + high * 256 + low
      while at < stop do
        local what, length = sub(record, at, at), struct.unpack('>I2', record, at + 1)
        if what == 'u' then
          local key = ARGV[1] .. 'd:' .. sub(record, at + 3, at + 2 + length)
          if redis.call('GET', key) == 'S' .. id then
            redis.call('DEL', key)
          end
        elseif what == 'o' then
          local own, timeout = struct.unpack('>I4I4', record, at + 3)
          own, timeout = own > 0 and own or ARGV[8], timeout > 0 and timeout or ARGV[9]
          ends = now + math.min(asked or own, timeout)
          text = format('%.0f', ends)
        end
        at = at + 3 + length
      end
      if kind % 2 == 1 then
        redis.call('ZREM', KEYS[7], id)
      end
    end
    soonest, latest = ends < soonest and ends or soonest, ends > latest and ends or latest
    if #record ~= width then
      width = #record
      lease = prefix .. struct.pack('>I4', width) .. worker
    end
    deadlines[2 * i - 1], deadlines[2 * i] = text, id
    leases[2 * i - 1], leases[2 * i] = id, lease
    if details[i] then
      leases[2 * i] = sub(lease, 1, 28) .. '1' .. sub(lease, 30)
    end
    is_usual = is_usual and not course and ends == usual and #found[i] == entry_length
    last, used = i, used + bytes
  end
  next_job = last + 1

  local reply = { exhausted and next_job > taken and 1 or 0, usual_text }
  if last >= first then
    local head, number = ARGV[6] .. ';' .. string.char(#worker) .. worker, last - first + 1
    told[#told + 1] = 'l'
    if is_usual then
      local length = string.char(entry_length)
      told[#told + 1] = head .. length
        .. table.concat(found, no_attempts .. length, first, last) .. no_attempts
      local is_all = number == #ids
      reply[3] = is_all and ids or { unpack(ids, first, last) }
      reply[4] = is_all and records or { unpack(records, first, last) }
    else
      local event = { head }
      reply[3], reply[4] = {}, {}
      for i = first, last do
        local course = courses[i]
        event[#event + 1] = string.char(#found[i]) .. found[i]
          .. (course and sub(course, 15, 18) or no_attempts)
        reply[#reply + 1] = {
          ids[i], records[i], course, deadlines[2 * i - 1], leases[2 * i], details[i] or {},
        }
      end
      told[#told + 1] = table.concat(event)
    end
    events = events + number
    if request ~= '' then
      -- Who asks again did not get the answer, so cannot have extended the leases.
      local memory = { sub(prefix, 1, 8) }
      for i = first, last do
        memory[#memory + 1] = string.char(#ids[i]) .. ids[i]
      end
      local span = format('%.0f', latest - now + ARGV[10])
      redis.call('SET', ARGV[1] .. 'c:' .. request, table.concat(memory), 'PX', span)
    end
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
  local earliest = redis.call('ZRANGE', KEYS[5], '0', '0', 'WITHSCORES')[2]
  if tonumber(earliest) == soonest then
    redis.call('PUBLISH', ARGV[4], earliest .. ' ' .. ARGV[2])
  end
  --@log
end
if is_sound then
  return replies
end
return 'any'
