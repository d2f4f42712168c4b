-- Writes the stream entry, as prelude.lua does: `told` is form, body, form, body…, `events` how many
-- events that is.
local number = redis.call('INCR', KEYS[9])
redis.call(
  'XADD', KEYS[8], 'MAXLEN', '~', EVENTS_KEPT, '*', 'n', string.format('%d', number), 'v',
  string.format('%d', events), unpack(told)
)
if number % 64 == 0 then
  local entries, found = 0, 0
  for _, walk in ipairs({ { 'XRANGE', '-', '+' }, { 'XREVRANGE', '+', '-' } }) do
    for _, entry in ipairs(redis.call(walk[1], KEYS[8], walk[2], walk[3], 'COUNT', 4)) do
      entries = entries + 1
      found = found + (entry[2][3] == 'v' and tonumber(entry[2][4]) or 1)
    end
  end
  redis.call('XTRIM', KEYS[8], 'MAXLEN', '~', math.ceil(EVENTS_KEPT * entries / found))
end
redis.call('PUBLISH', LOG_CHANNEL, string.sub(ARGV[1], QUEUE_FROM, -3))
