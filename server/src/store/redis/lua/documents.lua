-- Writes documents of one kind, each if its expectation holds.
--
-- KEYS: the hash of the kind: document key -> revision, a space, body.
-- ARGV: channel to tell or '', what to tell; per document: key, the revision it must have, 0 for
--   none or '' for any; '1' to write it, '' to remove it; body.
-- Replies, per document: 'applied' or 'lost'.
local hash, replies, has_changed = KEYS[1], {}, false
for i = 3, #ARGV, 4 do
  local name, expected, writes, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local known = redis.call('HGET', hash, name)
  local revision = known and string.match(known, '^%d+') or '0'
  if expected ~= '' and expected ~= revision then
    replies[#replies + 1] = 'lost'
  else
    if writes == '1' then
      local next_revision = string.format('%.0f', tonumber(revision) + 1)
      redis.call('HSET', hash, name, next_revision .. ' ' .. body)
    else
      redis.call('HDEL', hash, name)
    end
    has_changed = true
    replies[#replies + 1] = 'applied'
  end
end
if has_changed and ARGV[1] ~= '' then
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return replies
