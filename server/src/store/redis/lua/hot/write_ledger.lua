-- Counts `happened` jobs in the last minute as enqueued (`what` is 0) or finished (1), as ledger.lua
-- does, and writes the ledger.
local lately = string.sub(raw, 146)
local newest, bucket = struct.unpack('>d', lately), math.floor(tonumber(ARGV[2]) / 10000)
if bucket > newest then
  local spans = { struct.unpack('>dddddddddddd', lately, 9) }
  for past = math.max(newest + 1, bucket - 5), bucket do
    spans[past % 6 * 2 + 1], spans[past % 6 * 2 + 2] = 0, 0
  end
  lately = struct.pack('>ddddddddddddd', bucket, unpack(spans, 1, 12))
  newest = bucket
end
local place = 9 + newest % 6 * 16 + what * 8
lately = string.sub(lately, 1, place - 1)
  .. struct.pack('>d', struct.unpack('>d', lately, place) + happened)
  .. string.sub(lately, place + 8)
local numbers = struct.pack(
  '>dddddddddddddddddd', back, front, enqueued, succeeded, dead, lost, jobs, bytes, stale, indexed,
  paused, max_leased, interval, burst, arrival, began, largest, alarm
)
redis.call('SET', KEYS[10], string.sub(raw, 1, 1) .. numbers .. lately)
