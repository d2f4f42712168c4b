-- Takes ready jobs in order and leases them. Claims are served one after another.
--
-- Arguments: stream length, default lease in ms, number of claims; per claim: limit, bytes,
--   lease in ms or '', lease (secret of 8 bytes, then what the broker wants back), worker,
--   request id or '', how long in ms to remember the request.
-- Replies, per claim: jobs as prelude's answer() makes them.
-- Touches: priorities, ready lists, leased, leases, remembered claims, events.
local entries, default_lease, claims = take(), tonumber(take()), tonumber(take())

-- The leases of an earlier claim with the same request id that still live.
local function replay(request)
  local known = redis.call('GET', base .. 'c:' .. request)
  local jobs = {}
  if not known then
    return jobs
  end
  local secret = string.sub(known, 1, 8)
  for id in string.gmatch(string.sub(known, 9), '[^,]+') do
    local lease = redis.call('HGET', key.leases, id)
    if lease and string.sub(lease, 1, 8) == secret then
      local record = redis.call('GET', job_key(id))
      jobs[#jobs + 1] = answer(id, record, redis.call('ZSCORE', key.leased, id), lease)
    end
  end
  return jobs
end

local function lease_of(record)
  local a, b, c, d = string.byte(record, head.lease, head.lease + 3)
  local own = ((a * 256 + b) * 256 + c) * 256 + d
  return own > 0 and own or default_lease
end

-- Pops ids of the greatest priority in use; nil when there are none.
local function pop(count)
  while true do
    local priority = redis.call('ZRANGE', key.priorities, 0, 0)[1]
    if not priority then
      return nil
    end
    local ids = redis.call('LPOP', base .. 'r:' .. priority, count)
    if ids then
      return ids, priority
    end
    redis.call('ZREM', key.priorities, priority)
  end
end

local function size_of(job)
  local size = #job[2] + 256
  for _, part in ipairs(job[5]) do
    size = size + #part
  end
  return size
end

-- Takes up to `limit` ready jobs of at most `bytes`, but one in any case.
local function pick(limit, bytes)
  local jobs, used = {}, 0
  while #jobs < limit do
    -- Records may be large: read few until their size is known.
    local fit = #jobs == 0 and 16 or math.max(1, math.floor((bytes - used) * #jobs / used))
    local ids, priority = pop(math.min(limit - #jobs, fit))
    if not ids then
      break
    end
    local names = {}
    for i, id in ipairs(ids) do
      names[i] = job_key(id)
    end
    for i, record in ipairs(redis.call('MGET', unpack(names))) do
      -- An id without a ready record is left over from a job that went another way.
      if record and string.sub(record, head.state, head.state) == 'R' then
        local job = answer(ids[i], record)
        local size = size_of(job)
        if #jobs > 0 and used + size > bytes then
          for back = #ids, i, -1 do
            redis.call('LPUSH', base .. 'r:' .. priority, ids[back])
          end
          return jobs
        end
        jobs[#jobs + 1] = job
        used = used + size
      end
    end
  end
  return jobs
end

local replies = {}
for c = 1, claims do
  local limit, bytes, lease_ms = tonumber(take()), tonumber(take()), tonumber(take())
  local lease, worker, request, memory = take(), take(), take(), take()
  local jobs = request ~= '' and replay(request) or {}
  if #jobs == 0 and limit > 0 then
    jobs = pick(limit, bytes)
    if #jobs > 0 then
      local deadlines, leases, ids, told = {}, {}, {}, { now, ';', string.char(#worker), worker }
      for _, job in ipairs(jobs) do
        local id, record = job[1], job[2]
        job[3] = string.format('%.0f', tonumber(now) + (lease_ms or lease_of(record)))
        job[4] = lease
        deadlines[#deadlines + 1] = job[3]
        deadlines[#deadlines + 1] = id
        leases[#leases + 1] = id
        leases[#leases + 1] = lease
        ids[#ids + 1] = id
        told[#told + 1] = string.char(#id)
        told[#told + 1] = id
        told[#told + 1] = string.sub(record, head.at, head.counters + 7)
      end
      redis.call('HSET', key.leases, unpack(leases))
      add_times(key.leased, deadlines)
      if request ~= '' then
        local name = base .. 'c:' .. request
        redis.call('SET', name, string.sub(lease, 1, 8) .. table.concat(ids, ','), 'PX', memory)
      end
      tell('c', table.concat(told))
    end
  end
  replies[c] = jobs
end
write_log(entries)
return replies
