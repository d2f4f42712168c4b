-- Tells the newest position of a queue's event log, also when all entries are trimmed.
--
-- Arguments: none.
-- Reply: number, stream id; nil when nothing was ever logged.
-- Touches nothing.
local number = redis.call('GET', key.number)
if not number or redis.call('EXISTS', key.events) == 0 then
  return false
end
local about = redis.call('XINFO', 'STREAM', key.events)
for i = 1, #about, 2 do
  if about[i] == 'last-generated-id' then
    return { number, about[i + 1] }
  end
end
return false
