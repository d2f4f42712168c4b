-- Forgets the records of the jobs `gone`, as pages.lua does it.
local loose, i, has_pages = {}, 1, redis.call('EXISTS', KEYS[18]) == 1
while i <= #gone do
  local id, live = gone[i], nil
  local version = has_pages and string.byte(id, 8)
  if version and string.byte(id) == 1 and version >= 80 and version < 96 then
    local prefix, last = sub(id, 1, 16), string.byte(id, 17)
    local place = last % 8
    local page = '\2' .. sub(id, 2, 16) .. string.char(last - place)
    live = redis.call('HGET', KEYS[18], page)
    if live then
      local left = string.byte(live)
      -- Neighbours mostly go side by side.
      repeat
        if math.floor(left / 2 ^ place) % 2 == 0 then
          loose[#loose + 1] = gone[i]
        else
          left = left - 2 ^ place
        end
        i, place, last = i + 1, place + 1, last + 1
      until place == 8 or gone[i] ~= prefix .. string.char(last)
      if left == 0 then
        redis.call('HDEL', KEYS[18], page)
        redis.call('HDEL', KEYS[16], page)
      else
        redis.call('HSET', KEYS[18], page, string.char(left))
      end
    end
  end
  if not live then
    loose[#loose + 1] = id
    i = i + 1
  end
end
if #loose > 0 then
  redis.call('HDEL', KEYS[16], unpack(loose))
end
