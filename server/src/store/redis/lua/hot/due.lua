-- Tells that something falls due at `soonest`, as `is_news`, if no look at the queue stands that comes
-- before it (next_due.lua).
local is_news = soonest < alarm or alarm <= tonumber(ARGV[6])
if is_news then
  alarm = soonest
  redis.call('PUBLISH', ARGV[4], string.format('%.0f', soonest) .. ' ' .. ARGV[2])
end
