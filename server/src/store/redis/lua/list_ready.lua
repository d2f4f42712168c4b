-- Reads a page of the ready jobs, in the order in which they will run or backward.
--
-- Arguments: '1' to walk backward, how many jobs, bytes after which no more records are read,
--   priority and place of the mark or ''.
-- Reply: priority and place of the last entry looked at, or '' at the end; then jobs as job.lua's
--   answer() makes them.
-- Touches nothing.
local backward, limit, bytes = take() == '1', tonumber(take()), tonumber(take())
local marked = { priority = tonumber(take()), place = tonumber(take()) }
local sign = backward and -1 or 1

-- A page of nothing but stale entries ends too.
local most_seen = 4 * limit + 100

-- The lines of the next priority with entries behind the mark; nil at the end.
local function next_lines(after)
  local command = backward and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
  local from = after and after or (backward and '+inf' or '-inf')
  local to = backward and '-inf' or '+inf'
  local first = redis.call(command, key.lines, from, to, 'WITHSCORES', 'LIMIT', 0, 1)
  if #first == 0 then
    return nil
  end
  local score = first[2]
  return redis.call('ZRANGEBYSCORE', key.lines, score, score, 'LIMIT', 0, 1000), score
end

-- Up to `number` entries of a line behind the mark, in walking order.
local function read(line, number)
  local name, place = list_key(line), marked.place
  if not backward then
    local from = place and entries_below(line, 1, place + 1) or 0
    return redis.call('LRANGE', name, from, from + number - 1)
  end
  local till = place and entries_below(line, 1, place) or redis.call('LLEN', name)
  if till == 0 then
    return {}
  end
  local found = redis.call('LRANGE', name, math.max(0, till - number), till - 1)
  local reversed = {}
  for i = #found, 1, -1 do
    reversed[#reversed + 1] = found[i]
  end
  return reversed
end

local reply, seen = { '' }, 0
local after = marked.priority and plain(-marked.priority)

-- Adds the jobs of `found`; false when the page is full.
local function add(found, priority)
  for _, one in ipairs(found) do
    if #reply > limit or bytes <= 0 or seen > most_seen then
      return false
    end
    seen = seen + 1
    marked.place = one.place
    reply[1] = priority .. ' ' .. plain(one.place)
    local id = string.sub(one.entry, entry_part.id)
    local job = answer_of(id)
    if job and is_valid(one.entry, join(job[2], job[3])) and not job[5] then
      bytes = bytes - #job[2]
      reply[#reply + 1] = job
    end
  end
  return true
end

while true do
  local lines, score = next_lines(after)
  if not lines then
    reply[1] = ''
    return reply
  end
  if not after or tonumber(score) ~= tonumber(after) then
    marked.place = nil
  end
  local found = merge(lines, limit, read, sign)
  if not add(found, plain(-tonumber(score))) then
    return reply
  end
  if #found == 0 then
    -- On to the next priority.
    after, marked.place = '(' .. score, nil
  else
    after = score
  end
end
