-- What a queue's settings hold back: a part of claim.lua; needs ready.lua.
--
-- The rate is held by the generic cell rate algorithm in its form with a virtual schedule (ITU-T
-- I.371, annex A): each lease is given a theoretical arrival time one interval after the one
-- before; it conforms while that time is at most `burst` intervals ahead.

-- How many of `limit` leases may be made, and which gate allows no more, if one does.
local function allowance(limit)
  local numbers = ledger()
  if numbers[field.paused] == 1 then
    return 0, 'paused'
  end
  local allowed, why = limit, nil
  if numbers[field.max_leased] >= 0 then
    local room = math.max(0, numbers[field.max_leased] - redis.call('ZCARD', key.leased))
    if room < allowed then
      allowed, why = room, 'full'
    end
  end
  if numbers[field.interval] > 0 then
    local micros = tonumber(now) * 1000
    local ahead = math.max(numbers[field.arrival], micros) - micros
    local permits =
      math.max(0, math.floor(numbers[field.burst] - ahead / numbers[field.interval]))
    if permits < allowed then
      allowed, why = permits, 'limited'
    end
  end
  return allowed, why
end

-- So many leases were made.
local function spend(leases)
  local numbers = ledger()
  if numbers[field.interval] > 0 then
    local from = math.max(numbers[field.arrival], tonumber(now) * 1000)
    count('arrival', from + leases * numbers[field.interval] - numbers[field.arrival])
  end
end

-- True when some line has an entry.
local function any_ready()
  for _, line in ipairs(redis.call('ZRANGE', key.lines, 0, 99)) do
    if redis.call('EXISTS', list_key(line)) == 1 then
      return true
    end
  end
  return false
end

-- The gate as the broker reads it, if it keeps ready jobs back.
local function gate_of(why)
  local numbers = ledger()
  if numbers[field.paused] == 1 then
    return { 'paused' }
  elseif not why or not any_ready() then
    return false
  elseif why == 'limited' then
    -- The next lease conforms once its arrival time is less than a burst ahead.
    local micros = numbers[field.arrival] - (numbers[field.burst] - 1) * numbers[field.interval]
    return { 'limited', plain(math.ceil(micros / 1000)) }
  end
  return { 'full' }
end
