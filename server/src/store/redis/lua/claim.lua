-- Takes ready jobs in order and leases them, where no gate holds the queue back, no list holds stale
-- entries and no two lines are of one priority: what most queues are. What it can't do it leaves
-- alone, for claim_any.lua. Written as insert.lua is.
--
-- Arguments, per claim: two numbers, limit and bytes, and the lease (codec.rs); worker; request id or ''.
-- Reply: 'any' if nothing was done; else per claim 1 if no job was left for it, else 0; the end of its
--   leases; then the ids of its jobs in one text, the texts with their records, and where these are
--   (reply.rs); or where a job is not as it was enqueued or has timeouts of its own, or ids differ in
--   length, what job.lua's answer() makes of each.
-- Touches: ready lists, leased, leases, expiring, dedup keys, remembered claims, ledger, events.
local raw, now = redis.call('GET', KEYS[10]), tonumber(ARGV[2])
local want, room, largest, total, alarm = 0, 0, 0, 0, 0
if raw then
  if string.byte(raw) % 4 ~= 0 then
    return 'any'
  end
  total = struct.unpack('>d', raw, 58)
  largest, alarm = struct.unpack('>dd', raw, 130)
end
for p = 3, #ARGV, 3 do
  local limit, most = struct.unpack('>I8I8', ARGV[p])
  want, room = want + limit, room + most
  if ARGV[p + 2] ~= '' and redis.call('EXISTS', ARGV[1] .. 'c:' .. ARGV[p + 2]) == 1 then
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
    -- One without an entry of its own is small: it is in a page.
    size = size + math.max(1024, redis.call('HSTRLEN', KEYS[16], ids[i])) + 256
    if size > room and i > 1 then
      fit = i - 1
      break
    end
  end
end
-- Where the record of each job is: in which text, from which byte on, how long. Those of a batch share a
-- page (pages.lua), whose records are plain and were ready.
local courses, texts, starts, sizes, loose, places = {}, {}, {}, {}, {}, {}
if fit > 0 then
  courses = redis.call('HMGET', KEYS[17], unpack(ids, 1, fit))
end
local i, has_pages = 1, fit > 0 and redis.call('EXISTS', KEYS[18]) == 1
while i <= fit do
  local id, live, page = ids[i], nil, nil
  local version = has_pages and byte(id, 8)
  if version and byte(id) == 1 and version >= 80 and version < 96 then
    local prefix, last = sub(id, 1, 16), byte(id, 17)
    local place = last % 8
    local name = '\2' .. sub(id, 2, 16) .. string.char(last - place)
    live = redis.call('HGET', KEYS[18], name)
    if live then
      page, live = redis.call('HGET', KEYS[16], name), byte(live)
      local at, number, width = struct.unpack('>BBI2', page)
      -- Neighbours mostly stand side by side.
      repeat
        if math.floor(live / 2 ^ place) % 2 == 0 then
          loose[#loose + 1], places[#places + 1] = ids[i], i
        elseif width > 0 then
          texts[i], starts[i], sizes[i] = page, 5 + (place - at) * width, width
        else
          local n = 5 + 2 * (place - at)
          local from = n > 5 and struct.unpack('>I2', page, n - 2) or 0
          texts[i], starts[i] = page, 5 + 2 * number + from
          sizes[i] = struct.unpack('>I2', page, n) - from
        end
        i, place, last = i + 1, place + 1, last + 1
      until place == 8 or ids[i] ~= prefix .. string.char(last)
    end
  end
  if not live then
    loose[#loose + 1], places[#places + 1] = id, i
    i = i + 1
  end
end
if #loose > 0 then
  for i, record in ipairs(redis.call('HMGET', KEYS[16], unpack(loose))) do
    texts[places[i]], starts[places[i]], sizes[places[i]] = record, 1, record and #record
  end
end

-- A job that went another way or has lapsed gives its place to one behind it.
local next_job, is_sound = 1, true
for i = 1, fit do
  local record, course, is_own = texts[i], courses[i], starts[i] == 1
  if not record or (course and byte(course, 2) or is_own and byte(record, 11) or 82) ~= 82 then
    is_sound = false
  elseif is_own and byte(record) % 2 == 1 then
    local at = 18 + byte(record, 8)
    while sub(record, at, at) ~= 'x' do
      at = at + 3 + struct.unpack('>I2', record, at + 1)
    end
    is_sound = is_sound and struct.unpack('>I8', record, at + 3) > now
  end
end

local replies, told, events, no_attempts = {}, {}, 0, '\0\0\0\0'
local deadlines, leases, details, soonest = {}, {}, {}, math.huge
for p = 3, #ARGV, 3 do
  local limit, most, asked = struct.unpack('>I8I8xxxxxxxxxxxxxxxxI4', ARGV[p])
  local prefix, worker, request = sub(ARGV[p], 17), ARGV[p + 1], ARGV[p + 2]
  local usual = now + math.min(asked > 0 and asked or DEFAULT_LEASE, DEFAULT_TIMEOUT)
  local usual_text = format('%.0f', usual)
  local first, last, used, latest, is_usual = next_job, next_job - 1, 0, 0, true
  local entry_length = found[first] and #found[first]
  -- Of jobs of one size the leases are one text.
  local lease, width = nil, nil
  while is_sound and last - first + 1 < limit and last < fit do
    local i = last + 1
    local id, record, course = ids[i], texts[i], courses[i]
    local bytes = sizes[i] + 256
    if course and byte(course) == 49 then
      details[i] = redis.call('HGETALL', ARGV[1] .. 'm:' .. id)
      for _, part in ipairs(details[i]) do
        bytes = bytes + #part
      end
    end
    if i > first and used + bytes > most then
      break
    end
    local ends, text, kind = usual, usual_text, starts[i] == 1 and byte(record) or 64
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
          own, timeout = own > 0 and own or DEFAULT_LEASE, timeout > 0 and timeout or DEFAULT_TIMEOUT
          ends = now + math.min(asked > 0 and asked or own, timeout)
          text = format('%.0f', ends)
        end
        at = at + 3 + length
      end
      if kind % 2 == 1 then
        redis.call('ZREM', KEYS[7], id)
      end
    end
    soonest, latest = ends < soonest and ends or soonest, ends > latest and ends or latest
    if sizes[i] ~= width then
      width = sizes[i]
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
    local head, number = ARGV[2] .. ';' .. string.char(#worker) .. worker, last - first + 1
    told[#told + 1] = 'l'
    if is_usual then
      local length = string.char(entry_length)
      told[#told + 1] = head .. length
        .. table.concat(found, no_attempts .. length, first, last) .. no_attempts
      reply[3] = table.concat(ids, '', first, last)
      -- Redis's Lua hashes every byte of a text that it makes, so nothing is cut or joined here.
      local sent, runs, text, i = {}, {}, nil, first
      while i <= last do
        local from, start, size = i, starts[i], sizes[i]
        local is_next = start > 1 and texts[i] ~= text and 1 or 0
        text = texts[i]
        if start == 1 then
          repeat
            sent[#sent + 1] = texts[i]
            i = i + 1
          until i > last or starts[i] > 1
        else
          if is_next == 1 then
            sent[#sent + 1] = text
          end
          repeat
            i = i + 1
          until i > last or texts[i] ~= text or sizes[i] ~= size or starts[i] ~= starts[i - 1] + size
        end
        runs[#runs + 1] = struct.pack('>BI4I4I4', is_next, i - from, start - 1, size)
      end
      reply[4], reply[5] = sent, table.concat(runs)
    else
      local event = { head }
      for i = first, last do
        local course = courses[i]
        event[#event + 1] = string.char(#found[i]) .. found[i]
          .. (course and sub(course, 15, 18) or no_attempts)
        reply[#reply + 1] = {
          ids[i], sub(texts[i], starts[i], starts[i] + sizes[i] - 1), course, deadlines[2 * i - 1], leases[2 * i], details[i] or {},
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
      local span = format('%.0f', latest - now + CLAIM_SLACK)
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
  --@lease
  if is_news then
    redis.call('SETRANGE', KEYS[10], '137', struct.pack('>d', alarm))
  end
  --@log
end
if is_sound then
  return replies
end
return 'any'
