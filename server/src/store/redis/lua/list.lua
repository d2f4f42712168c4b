-- Reads a page of an index that is a zset.
--
-- Arguments: what the index's key ends with, '1' to walk backward, how many jobs, bytes after which
--   no more records are read, score and id of the mark or ''.
-- Reply: score and id of the last job, or '' at the end; then jobs as job.lua's answer() makes them.
-- Touches nothing.
local zset, backward, limit, bytes = base .. take(), take() == '1', tonumber(take()), tonumber(take())
local score, marked = take(), take()

-- How many members stand before those that the page begins with, in the order of the zset.
local function start()
  if score == '' then
    return backward and redis.call('ZCARD', zset) or 0
  end
  -- Of one score there may be many, by id: halve them until the place is found.
  local low = redis.call('ZCOUNT', zset, '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', zset, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = redis.call('ZRANGE', zset, middle, middle)[1]
    if is_before(id, marked) or (not backward and id == marked) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- One more than wanted, to know whether there are more.
local function read()
  local first = start()
  if not backward then
    return redis.call('ZRANGE', zset, first, first + limit, 'WITHSCORES')
  elseif first == 0 then
    return {}
  end
  local from = redis.call('ZCARD', zset) - first
  return redis.call('ZREVRANGE', zset, from, from + limit, 'WITHSCORES')
end

local found, reply, last = read(), { '' }, 0
for i = 1, math.min(#found, 2 * limit), 2 do
  if bytes <= 0 then
    break
  end
  last = i
  local id = found[i]
  local job = answer_of(id)
  if job then
    bytes = bytes - #job[2]
    reply[#reply + 1] = job
  end
end
if last > 0 and last + 2 <= #found then
  reply[1] = found[last + 1] .. ' ' .. found[last]
end
return reply
