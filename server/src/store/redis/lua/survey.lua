-- Tells what a queue holds and what became of its jobs.
--
-- Arguments: none.
-- Reply: jobs that are scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled,
--   expired; enqueued, succeeded, dead, lost leases since the queue began; enqueued, finished in
--   the last minute; bytes of unfinished jobs; since when the oldest ready job waits or ''.
-- Touches nothing.
local finished = key.finished
local counts = {}
for i, zset in ipairs({
  key.scheduled, key.leased, key.retrying, key.blocked, finished.K, finished.D, finished.C,
  finished.E,
}) do
  counts[i] = redis.call('ZCARD', zset)
end
local numbers = ledger()
local others = counts[1] + counts[2] + counts[3] + counts[4]
table.insert(counts, 2, math.max(0, numbers[field.jobs] - others))
for _, name in ipairs({ 'enqueued', 'succeeded', 'dead', 'lost' }) do
  counts[#counts + 1] = numbers[field[name]]
end

local present, newest = math.floor(tonumber(now) / 10000), struct.unpack('>d', lately)
for what = 0, 1 do
  local sum = 0
  for bucket = math.max(present, newest) - 5, newest do
    sum = sum + struct.unpack('>d', lately, 9 + bucket % 6 * 16 + what * 8)
  end
  counts[#counts + 1] = sum
end
counts[#counts + 1] = numbers[field.bytes]

-- Those that gave their turn back stand in front though they wait anew, so look at some. When all of
-- them are stale, the next one is about as old as the last.
local oldest = nil
local has_stale = has_flag('stale')
for _, line in ipairs(redis.call('ZRANGE', key.lines, 0, 99)) do
  local seen, first, last = 0, nil, nil
  for _, entry in ipairs(redis.call('LRANGE', list_key(line), 0, has_stale and 99 or 9)) do
    last = struct.unpack('>I6', entry, entry_part.at)
    if not has_stale or is_valid(entry, read_job(string.sub(entry, entry_part.id))) then
      first, seen = math.min(first or last, last), seen + 1
    end
    if seen == 10 then
      break
    end
  end
  oldest = math.min(oldest or math.huge, first or last or math.huge)
end
for i, number in ipairs(counts) do
  counts[i] = plain(number)
end
counts[#counts + 1] = oldest and oldest < math.huge and plain(oldest) or ''
return counts
