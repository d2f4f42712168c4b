-- Takes ready jobs in order and leases them, as far as the queue's gates allow: what claim.lua can't
-- do. Claims are served one after another.
--
-- Arguments: number of claims; per claim: limit, bytes, lease in ms or '', lease (codec.rs),
--   worker, request id or '', number of types, types.
-- Replies: {'paused'}, {'full'}, {'limited', moment} or nil; 1 if claim.lua would do the next time;
--   then per claim 1 if no job was left for it, then jobs as job.lua's answer() makes them.
-- Touches: ready lists, leased, leases, expiring, dedup keys, remembered claims, ledger, events.
local claims = tonumber(take())

-- So many entries without a job to lease are dropped in one call.
local most_dropped = 5000
local dropped = 0
-- The last pick found no more.
local exhausted = false

-- The leases of an earlier claim with the same request id that still live.
local function replay(request)
  local known = redis.call('GET', base .. 'c:' .. request)
  local jobs = {}
  if not known then
    return jobs
  end
  local secret, at = string.sub(known, 1, 8), 9
  while at <= #known do
    local length = string.byte(known, at)
    local id = string.sub(known, at + 1, at + length)
    local lease = redis.call('HGET', key.leases, id)
    if lease and string.sub(lease, 1, 8) == secret then
      jobs[#jobs + 1] = answer_of(id)
    end
    at = at + length + 1
  end
  return jobs
end

-- When a lease made now ends: as asked for or as the job says, but no later than an attempt may.
local function lease_end(job, asked)
  local extras = string.byte(job, head.kind) % 8 >= 4 and extras_of(job) or {}
  local span = asked or ((extras.lease or 0) > 0 and extras.lease or DEFAULT_LEASE)
  local longest = (extras.timeout or 0) > 0 and extras.timeout or DEFAULT_TIMEOUT
  return plain(tonumber(now) + math.min(span, longest))
end

-- The lines of the greatest priority among those of `types`.
local function lines_of_types(types)
  local page = 200
  for from = 0, 50 * page, page do
    local found = redis.call('ZRANGE', key.lines, from, from + page - 1, 'WITHSCORES')
    local lines, score = {}, nil
    for i = 1, #found, 2 do
      if types[string.match(found[i], ':(.*)$')] and (not score or score == found[i + 1]) then
        score = found[i + 1]
        lines[#lines + 1] = found[i]
      end
    end
    if score or #found < 2 * page then
      return lines
    end
  end
  return {}
end

-- The lines from which the next job comes, of any type if `types` is nil.
local function next_lines(types)
  if types then
    return lines_of_types(types)
  end
  local found = redis.call('ZRANGE', key.lines, 0, 1, 'WITHSCORES')
  if found[4] and found[2] == found[4] then
    return redis.call('ZRANGEBYSCORE', key.lines, found[2], found[2], 'LIMIT', 0, 1000)
  end
  return { found[1] }
end

local function peek(line, number)
  local found = redis.call('LRANGE', list_key(line), 0, number - 1)
  if #found == 0 then
    redis.call('ZREM', key.lines, line)
  end
  return found
end

-- Takes up to `most` entries of the greatest priority in use: the entries, and the line of all or of
-- each; nil when there are none.
local function pop(most, types)
  while true do
    local lines = next_lines(types)
    if #lines == 0 then
      if not types and has_flag('stale') then
        count('stale', -ledger()[field.stale])
      end
      return nil
    elseif #lines == 1 then
      local found = redis.call('LPOP', list_key(lines[1]), most)
      if found then
        return found, lines[1]
      end
      redis.call('ZREM', key.lines, lines[1])
    else
      local found, from, taken = {}, {}, {}
      for i, one in ipairs(merge(lines, most, peek, 1)) do
        found[i], from[i] = one.entry, one.line
        taken[one.line] = (taken[one.line] or 0) + 1
      end
      for line, number in pairs(taken) do
        redis.call('LPOP', list_key(line), number)
      end
      if #found > 0 then
        return found, from
      end
    end
  end
end

local function put_back(found, from, first)
  for back = #found, first, -1 do
    local line = type(from) == 'table' and from[back] or from
    redis.call('LPUSH', list_key(line), found[back])
    use_line(line)
  end
end

local function size_of(job)
  local size = #job[2] + 256
  for _, part in ipairs(job[6]) do
    size = size + #part
  end
  return size
end

-- True when the entry gives a job to lease. One that does not is dropped: its job went another way,
-- or lapsed, and then the sweep finds it among the expiring.
local function may_lease(entry, job, id, has_stale)
  if not is_valid(entry, job) or (has_stale and redis.call('HEXISTS', key.leases, id) == 1) then
    if has_stale then
      count('stale', -1)
    end
    return false
  end
  return true
end

-- Takes up to `limit` ready jobs of at most `bytes`, but one in any case.
local function pick(limit, bytes, types)
  local jobs, used, is_stale = {}, 0, has_flag('stale')
  exhausted = false
  while #jobs < limit do
    -- Records may be large: read few until their size is known.
    local fit = #jobs == 0 and 16 or math.max(1, math.floor((bytes - used) * #jobs / used))
    local found, from = pop(math.min(limit - #jobs, fit), types)
    if not found then
      exhausted = true
      break
    end
    local ids = {}
    for i, entry in ipairs(found) do
      ids[i] = string.sub(entry, entry_part.id)
    end
    local courses = redis.call('HMGET', key.courses, unpack(ids))
    for i, record in ipairs(records_of(ids)) do
      local has_stale = is_stale and ledger()[field.stale] > 0
      local whole = join(record, courses[i])
      if may_lease(found[i], whole, ids[i], has_stale) and not is_lapsed(whole) then
        local job = answer(ids[i], record, courses[i])
        job.whole = whole
        local size = size_of(job)
        if #jobs > 0 and used + size > bytes then
          put_back(found, from, i)
          return jobs
        end
        jobs[#jobs + 1] = job
        used = used + size
      else
        dropped = dropped + 1
      end
    end
    if dropped > most_dropped then
      -- The rest is for the next call, which somebody must make.
      redis.call('PUBLISH', channel.ready, ' ' .. queue)
      break
    end
  end
  return jobs
end

-- Frees the dedup key that the job held until it was started.
local function free_until_started(job, id)
  local name = base .. 'd:' .. dedup_of(job)
  if redis.call('GET', name) == 'S' .. id then
    redis.call('DEL', name)
  end
end

-- Writes the leases of `jobs` and what follows from them.
local function lease_all(jobs, lease, asked, worker, request)
  local deadlines, leases, ids, told = {}, {}, {}, { now, ';', string.char(#worker), worker }
  local longest = 0
  for _, job in ipairs(jobs) do
    local id, whole = job[1], job.whole
    job[4] = lease_end(whole, asked)
    job[5] = string.sub(lease, 1, lease_part.details - 1)
      .. string.sub(whole, head.flags, head.flags)
      .. string.sub(lease, lease_part.details + 1)
      .. struct.pack('>I4', #job[2])
      .. worker
    longest = math.max(longest, tonumber(job[4]) - tonumber(now))
    deadlines[#deadlines + 1] = job[4]
    deadlines[#deadlines + 1] = id
    leases[#leases + 1] = id
    leases[#leases + 1] = job[5]
    ids[#ids + 1] = string.char(#id) .. id
    told[#told + 1] = string.char(#id)
    told[#told + 1] = id
    told[#told + 1] = string.sub(whole, head.at, head.counters + 7)
    local kind = string.byte(whole, head.kind)
    if kind % 2 == 1 then
      redis.call('ZREM', key.expiring, id)
    end
    if kind % 4 >= 2 then
      free_until_started(whole, id)
    end
  end
  redis.call('HSET', key.leases, unpack(leases))
  add_times(key.leased, deadlines)
  if request ~= '' then
    -- Who asks again did not get the answer, so cannot have extended the leases.
    local name, memory = base .. 'c:' .. request, plain(longest + CLAIM_SLACK)
    redis.call('SET', name, string.sub(lease, 1, 8) .. table.concat(ids), 'PX', memory)
  end
  tell('c', table.concat(told), #ids)
end

local gate, is_gated = nil, has_flag('gated')
local replies = { false, 0 }
for _ = 1, claims do
  local limit, bytes, asked = tonumber(take()), tonumber(take()), tonumber(take())
  local lease, worker, request = take(), take(), take()
  local types = nil
  for _ = 1, tonumber(take()) do
    types = types or {}
    types[take()] = true
  end
  local jobs = request ~= '' and replay(request) or {}
  exhausted = false
  if #jobs == 0 and limit > 0 then
    local allowed, why = limit, nil
    if is_gated then
      allowed, why = allowance(limit)
    end
    if allowed > 0 then
      jobs = pick(allowed, bytes, types)
    end
    if #jobs > 0 then
      lease_all(jobs, lease, asked, worker, request)
      if is_gated then
        spend(#jobs)
      end
    end
    if why and #jobs == allowed then
      gate = why
    end
  end
  table.insert(jobs, 1, exhausted and 1 or 0)
  replies[#replies + 1] = jobs
end
if is_gated then
  if claims == 0 then
    -- Only a look at the gates: what would keep one job back.
    gate = select(2, allowance(1))
  end
  replies[1] = gate_of(gate)
end
local lines = redis.call('ZRANGE', key.lines, 0, 1, 'WITHSCORES')
replies[2] = ledger_flags() % 4 == 0 and not (lines[4] and lines[2] == lines[4]) and 1 or 0
write_ledger()
write_log()
return replies
