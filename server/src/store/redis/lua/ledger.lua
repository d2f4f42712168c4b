-- Shared by scripts that count or that a queue's settings may hold back: the queue's ledger.
--
-- It is one string, read once and written at most once per call: a byte of flags, so that a claim
-- need not open it when the queue uses none of this; numbers; and what was counted lately: the number
-- of the newest ten seconds in which something was, then for each of six such spans the jobs enqueued
-- and those finished.
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
  began = 16, -- µs by the server's clock: no two lives of a queue are the same
  largest = 17, -- no record of an unfinished job is larger
  alarm = 18, -- every broker looks what is due in the queue at this time, or before; see next_due.lua
}
local ledger_size = 18
local ledger_form = '>dddddddddddddddddd'
-- Where the alarm stands in the string, counted from 0.
local ledger_alarm = 137
local flag = { gated = 1, stale = 2, indexed = 4 }

local ledger_raw, ledger_read, ledger_changed = nil, nil, false
local lately = nil

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
      lately = string.rep('\0', 8 * 13)
    else
      ledger_read = { struct.unpack(ledger_form, ledger_raw, 2) }
      lately = string.sub(ledger_raw, ledger_read[ledger_size + 1])
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

-- A job was added whose record has `size` bytes.
local function count_size(size)
  local numbers = ledger()
  if size > numbers[field.largest] then
    count('largest', size - numbers[field.largest])
  end
end

-- Counts in the last minute: jobs enqueued (`what` is 0) or finished (1).
local function count_lately(what, by)
  ledger()
  local newest, bucket = struct.unpack('>d', lately), math.floor(tonumber(now) / 10000)
  if bucket > newest then
    -- The spans between were empty, and this one begins.
    local spans = { struct.unpack('>dddddddddddd', lately, 9) }
    for past = math.max(newest + 1, bucket - 5), bucket do
      spans[past % 6 * 2 + 1], spans[past % 6 * 2 + 2] = 0, 0
    end
    lately = struct.pack('>ddddddddddddd', bucket, unpack(spans, 1, 12))
    newest = bucket
  end
  local place = 9 + newest % 6 * 16 + what * 8
  local number = struct.pack('>d', struct.unpack('>d', lately, place) + by)
  lately = string.sub(lately, 1, place - 1) .. number .. string.sub(lately, place + 8)
  ledger_changed = true
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
  redis.call('SET', key.ledger, string.char(flags) .. packed .. lately)
end
