-- Shared by scripts that index jobs or forget them; needs ledger.lua and job.lua.

local function index(id, extras)
  for _, term in ipairs(extras.terms) do
    redis.call('ZADD', base .. 'i:' .. term, extras.created, id)
    if ledger()[field.indexed] == 0 then
      count('indexed', 1)
    end
  end
end

local function unindex(id, extras)
  for _, term in ipairs(extras.terms) do
    redis.call('ZREM', base .. 'i:' .. term, id)
  end
end

-- Forgets finished jobs, and those that were taken out of all else.
local function forget(ids)
  local left = {}
  for i, course in ipairs(redis.call('HMGET', key.courses, unpack(ids))) do
    if course and string.sub(course, 1, 1) == '1' then
      left[#left + 1] = details_key(ids[i])
    end
    if ledger()[field.indexed] == 1 then
      local record = record_of(ids[i])
      local extras = record and extras_of(join(record, course))
      if extras then
        unindex(ids[i], extras)
      end
    end
  end
  if #left > 0 then
    redis.call('UNLINK', unpack(left))
  end
  forget_records(ids)
  redis.call('HDEL', key.courses, unpack(ids))
end
