-- Inserts groups of jobs of any kind, each group whole or each of its jobs for itself.
--
-- Arguments: who inserts, number of groups; per group: how many unfinished
--   jobs and how many bytes of them the queue may hold or '', '1' if it is whole or not at all, its
--   request or '', digest, its number of jobs; per job as enqueue.lua says.
-- Reply: 1 if the queue is new, then outcomes as enqueue.lua says.
-- Touches: jobs, courses, request and dedup keys, ready lists, scheduled, blocked, expiring, terms,
--   ledger, events.
origin = take()
local groups = tonumber(take())

local replies = { redis.call('EXISTS', key.ledger) == 0 and 1 or 0 }
if replies[1] == 1 then
  -- A new queue is news for its own broker too.
  origin = ''
end
for _ = 1, groups do
  local group = new_group(take(), take())
  local atomic, request, digest = take() == '1', take(), take()
  local jobs = read_jobs(tonumber(take()))
  recall(group, request, digest)
  local outcomes, refused = decide_group(group, jobs)
  if not refused or not atomic then
    apply_group(group, jobs, outcomes)
    remember(group, request, digest, outcomes)
    refused = nil
  end
  for _, outcome in ipairs(outcomes) do
    replies[#replies + 1] = refused and not refusals[outcome[1]] and { 'withheld' } or outcome
  end
end
flush_inserts()
write_ledger()
write_log()
return replies
