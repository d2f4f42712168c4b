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

-- Those that gave their turn back stand in front though they wait anew, so look at some.
local oldest = nil
for _, line in ipairs(redis.call('ZRANGE', key.lines, 0, 99)) do
  for _, entry in ipairs(redis.call('LRANGE', list_key(line), 0, 9)) do
    local at = struct.unpack('>I6', entry, entry_part.at)
    if not oldest or at < oldest then
      if not has_flag('stale') or is_valid(entry, front_of(string.sub(entry, entry_part.id))) then
        oldest = at
      end
    end
  end
end
for i, number in ipairs(counts) do
  counts[i] = plain(number)
end
counts[#counts + 1] = oldest and plain(oldest) or ''
return counts
