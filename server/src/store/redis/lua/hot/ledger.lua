-- Opens the ledger (ledger.lua) of a queue that has one, as `raw`.
local back, front, enqueued, succeeded, dead, lost, jobs, bytes, stale, indexed, paused, max_leased,
  interval, burst, arrival, began, largest, alarm = struct.unpack('>dddddddddddddddddd', raw, 2)
