-- Tells how many ready jobs would be claimed before a ready one, about.
--
-- Arguments: job id.
-- Reply: how many.
-- Touches nothing.
-- So many entries are searched for the job, and so far from a list's ends is looked for its place.
local searched, reach = 1000, 10000

local id = take()

local job = read_job(id)
if job == '' or state_in(job) ~= 'R' then
  return 0
end
local own = line_of(job)
local at = struct.unpack('>I6', job, head.at + 2)
local ending = string.sub(job, head.at + 2, head.at + 7) .. id

-- Its index in its line and its place; without the place when it is not found near where its time
-- would have it, or when that is not known well enough to search there.
local function find()
  local length = redis.call('LLEN', list_key(own))
  local guess, exact = 0, true
  if length > searched then
    guess, exact = entries_below(own, entry_part.at, at, reach)
  end
  if exact then
    local from = math.max(0, guess - searched / 2)
    for i, entry in ipairs(redis.call('LRANGE', list_key(own), from, from + searched - 1)) do
      if string.sub(entry, entry_part.at) == ending then
        return from + i - 1, struct.unpack('>I6', entry)
      end
    end
  end
  return guess, nil
end

local before, place = find()
local score = redis.call('ZSCORE', key.lines, own)
if not score then
  return 0
end
local greater =
  redis.call('ZRANGEBYSCORE', key.lines, '-inf', '(' .. score, 'LIMIT', 0, 1000)
for _, line in ipairs(greater) do
  before = before + redis.call('LLEN', list_key(line))
end
for _, line in ipairs(redis.call('ZRANGEBYSCORE', key.lines, score, score, 'LIMIT', 0, 1000)) do
  if line ~= own then
    local below = entries_below(line, place and 1 or entry_part.at, place or at, reach)
    before = before + below
  end
end
return before
