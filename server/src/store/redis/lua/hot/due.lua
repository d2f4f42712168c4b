-- Tells that something falls due at `soonest`, as `is_news`, if no look at the queue stands that comes
-- before it (next_due.lua).
local is_news = soonest < alarm or alarm <= tonumber(ARGV[2])
if is_news then
  alarm = soonest
  local queue = string.sub(ARGV[1], QUEUE_FROM, -3)
  redis.call('PUBLISH', DUE_CHANNEL, string.format('%.0f', soonest) .. ' ' .. queue)
end
