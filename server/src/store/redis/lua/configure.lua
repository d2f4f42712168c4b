-- Replaces a queue's settings if they are still of the revision that was read.
--
-- Arguments: the revision, the next one, the settings, 1 if paused, jobs leased at most or -1, µs between two leases or 0, leases at once, event.
-- Reply: 1 if the queue is new, then 'applied' or 'lost'.
-- Touches: settings, ledger, events.
local revision, next_revision, settings = take(), take(), take()
local paused, max_leased, interval, burst, event =
  tonumber(take()), tonumber(take()), tonumber(take()), tonumber(take()), take()

local is_new = redis.call('EXISTS', key.ledger) == 0 and 1 or 0
local known = redis.call('GET', key.settings)
if (known and string.match(known, '^%d+') or '0') ~= revision then
  return { is_new, 'lost' }
end
redis.call('SET', key.settings, next_revision .. ' ' .. settings)
local numbers = ledger()
if numbers[field.interval] ~= interval or numbers[field.burst] ~= burst then
  -- What was used up at another rate says nothing about this one.
  numbers[field.arrival] = 0
end
numbers[field.paused], numbers[field.max_leased] = paused, max_leased
numbers[field.interval], numbers[field.burst] = interval, burst
ledger_changed = true
write_ledger()
tell_event(event)
write_log()
redis.call('PUBLISH', SETTINGS_CHANNEL, queue)
if paused == 0 and redis.call('EXISTS', key.lines) == 1 then
  redis.call('PUBLISH', channel.ready, ' ' .. queue)
end
return { is_new, 'applied' }
