-- Leaves the work to others if one of `ids` is taken, or a page that it could be in is there. A lone
-- one is left to enter.lua.
if added > 1 then
  for _, taken in ipairs(redis.call('HMGET', KEYS[16], unpack(ids))) do
    if taken then
      return 'any'
    end
  end
end
local pages, known = {}, nil
for _, id in ipairs(ids) do
  local version = string.byte(id, 8)
  if string.byte(id) == 1 and version >= 80 and version < 96 then
    local last = string.byte(id, 17)
    local page = '\2' .. string.sub(id, 2, 16) .. string.char(last - last % 8)
    if page ~= known then
      known = page
      pages[#pages + 1] = page
    end
  end
end
if known then
  for _, there in ipairs(redis.call('HMGET', KEYS[18], unpack(pages))) do
    if there then
      return 'any'
    end
  end
end
