-- Moves the end of leases.
--
-- Arguments: stream length, number of leases; per lease: job id, secret, new end, progress or '',
--   checkpoint or '', event or ''.
-- Replies, per lease: 'applied' or 'lost'.
-- Touches: leased, job and details keys, events.
-- A script that has written already is not refused when memory runs out, and settles make room.
redis.call('UNLINK', base .. 'o')

local entries, count = take(), tonumber(take())

local replies, ends = {}, {}
for i = 1, count do
  local id, secret, until_ms, progress, checkpoint, event =
    take(), take(), take(), take(), take(), take()
  local lease = redis.call('HGET', key.leases, id)
  if lease and string.sub(lease, 1, 8) == secret then
    ends[#ends + 1] = until_ms
    ends[#ends + 1] = id
    if progress ~= '' then
      redis.call('HSET', details_key(id), 'p', progress)
    end
    if checkpoint ~= '' then
      redis.call('HSET', details_key(id), 'c', checkpoint)
    end
    if progress ~= '' or checkpoint ~= '' then
      redis.call('SETRANGE', job_key(id), head.flags - 1, '1')
    end
    if event ~= '' then
      tell_event(event, string.sub(lease, 21))
    end
    replies[i] = 'applied'
  else
    replies[i] = 'lost'
  end
end
if #ends > 0 then
  add_times(key.leased, ends)
end
write_log(entries)
return replies
