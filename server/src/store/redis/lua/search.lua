-- Shared by scripts that look for a place in a ready list; needs ready.lua.

-- How many entries of a line have a smaller number at `position`, if they are sorted by it, and
-- whether that is exact. A look into the middle of a list costs as much as the list is long. So with
-- a `reach` none is farther than that from an end: what lies between is taken to be spread evenly.
-- Each look goes where the numbers seen so far let expect it; each third halves what is left,
-- whatever they are.
local function entries_below(line, position, number, reach)
  local name = list_key(line)
  local function look(index)
    return (struct.unpack('>I6', redis.call('LINDEX', name, index), position))
  end
  local low, high = 0, redis.call('LLEN', name) - 1
  if high < 0 then
    return 0, true
  end
  local least, most = look(0), look(high)
  if least >= number then
    return 0, true
  elseif most < number then
    return high + 1, true
  end
  local function expected(part)
    return low + math.floor(part * (high - low))
  end
  if reach and high > 2 * reach then
    local near, far = look(reach), look(high - reach)
    if near >= number then
      high, most = reach, near
    elseif far < number then
      low, least = high - reach, far
    else
      low, high = reach, high - reach
      return expected((number - near) / (far - near)), false
    end
  end
  local looks = 0
  while high - low > 1 do
    looks = looks + 1
    local middle = expected(looks % 3 == 0 and 0.5 or (number - least) / (most - least))
    middle = math.max(low + 1, math.min(high - 1, middle))
    local seen = look(middle)
    if seen < number then
      low, least = middle, seen
    else
      high, most = middle, seen
    end
  end
  return high, true
end
