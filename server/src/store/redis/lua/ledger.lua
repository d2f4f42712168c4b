-- Shared by scripts that count or that a queue's settings may hold back: the queue's ledger.
--
-- It is one string, read once and written at most once per call: a byte of flags, so that a claim
-- need not open it when the queue uses none of this, then numbers.
local field = {
  back = 1, front = 2, -- places given out behind and in front
  enqueued = 3, succeeded = 4, dead = 5, lost = 6, -- since the queue began; lost: leases
  jobs = 7, bytes = 8, -- unfinished jobs and the size of their records
  stale = 9, -- entries of ready lists whose jobs went another way, at most
  indexed = 10, -- 1: some job has or had terms
  paused = 11, -- 1: gives out nothing
  max_leased = 12, -- -1: no limit
  interval = 13, burst = 14, -- µs between two leases, 0: no limit; leases at once after a rest
  arrival = 15, -- µs: when the next lease would come at the full rate
  bucket = 16, -- number of the newest ten seconds in which something was counted
  enqueued_then = 17, finished_then = 23, -- six each: what was counted in ten seconds, the last six
  began = 29, -- µs by the server's clock: no two lives of a queue are the same
}
local ledger_size = 29
local ledger_form = '>' .. string.rep('d', ledger_size)
local flag = { gated = 1, stale = 2, indexed = 4 }

local ledger_raw, ledger_read, ledger_changed = nil, nil, false

-- The flags of a ledger, 0 for a queue that has none.
local function ledger_flags()
  ledger_raw = ledger_raw or redis.call('GET', key.ledger) or ''
  return string.byte(ledger_raw, 1) or 0
end

local function has_flag(name)
  return math.floor(ledger_flags() / flag[name]) % 2 == 1
end

-- The numbers of the ledger.
local function ledger()
  if not ledger_read then
    ledger_flags()
    if ledger_raw == '' then
      ledger_read = {}
      for i = 1, ledger_size do
        ledger_read[i] = i == field.max_leased and -1 or 0
      end
      local time = redis.call('TIME')
      ledger_read[field.began] = time[1] * 1000000 + time[2]
    else
      ledger_read = { struct.unpack(ledger_form, ledger_raw, 2) }
      -- Where the numbers end.
      ledger_read[ledger_size + 1] = nil
    end
  end
  return ledger_read
end

local function count(name, by)
  local numbers = ledger()
  numbers[field[name]] = numbers[field[name]] + by
  ledger_changed = true
end

-- Counts in the last minute; `first` is the first of six fields.
local function count_lately(first, by)
  local numbers, bucket = ledger(), math.floor(tonumber(now) / 10000)
  if bucket > numbers[field.bucket] then
    for past = math.max(numbers[field.bucket] + 1, bucket - 5), bucket do
      numbers[field.enqueued_then + past % 6] = 0
      numbers[field.finished_then + past % 6] = 0
    end
    numbers[field.bucket] = bucket
  end
  local place = field[first] + numbers[field.bucket] % 6
  numbers[place] = numbers[place] + by
  ledger_changed = true
end

-- A place in line, ahead of all others or behind them; see keys.rs.
local function new_place(side)
  count(side, 1)
  local middle, numbers = 140737488355328, ledger()
  if side == 'front' then
    return struct.pack('>I6', middle - numbers[field.front])
  end
  return struct.pack('>I6', middle + numbers[field.back])
end

local function write_ledger()
  if not ledger_changed then
    return
  end
  local numbers = ledger()
  local flags = 0
  if
    numbers[field.paused] == 1
    or numbers[field.max_leased] >= 0
    or numbers[field.interval] > 0
  then
    flags = flags + flag.gated
  end
  if numbers[field.stale] > 0 then
    flags = flags + flag.stale
  end
  if numbers[field.indexed] == 1 then
    flags = flags + flag.indexed
  end
  local packed = struct.pack(ledger_form, unpack(numbers))
  redis.call('SET', key.ledger, string.char(flags) .. packed)
end
