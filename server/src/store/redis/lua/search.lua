-- Shared by scripts that look for a place in a ready list; needs ready.lua.

-- How many entries of a line have a smaller number at `position`, if they are sorted by it; with a
-- `slack` of 2000, up to one in 2000 of all entries more. A look into the middle of a long list takes
-- long, so the next one goes where the numbers seen so far let expect it; each third halves what is
-- left, whatever they are.
local function entries_below(line, position, number, slack)
  local name = list_key(line)
  local function look(index)
    return (struct.unpack('>I6', redis.call('LINDEX', name, index), position))
  end
  local low, high = 0, redis.call('LLEN', name) - 1
  if high < 0 then
    return 0
  end
  local least, most = look(0), look(high)
  if least >= number then
    return 0
  elseif most < number then
    return high + 1
  end
  local looks, enough = 0, slack and math.max(1, math.floor(high / slack)) or 1
  while high - low > enough do
    looks = looks + 1
    local part = looks % 3 == 0 and 0.5 or (number - least) / (most - least)
    local middle = low + math.floor(part * (high - low))
    middle = math.max(low + 1, math.min(high - 1, middle))
    local seen = look(middle)
    if seen < number then
      low, least = middle, seen
    else
      high, most = middle, seen
    end
  end
  return high
end
