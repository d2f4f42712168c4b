-- Shared by scripts that look for a place in a ready list; needs ready.lua.

-- How many entries of a line have a smaller number at `position`, if they are sorted by it.
local function entries_below(line, position, number)
  local low, high = 0, redis.call('LLEN', list_key(line))
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call('LINDEX', list_key(line), middle)
    if struct.unpack('>I6', entry, position) < number then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end
