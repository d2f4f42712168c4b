-- Shared by scripts that touch ready lists; needs ledger.lua.
--
-- An entry is the job's place (6 bytes), the moment since when it is ready (6) and its id. It is
-- valid if the record says that the job is ready since then.
local entry_part = { at = 7, id = 13 }

-- A list up to this long is searched for an entry; in a longer one the entry stays, stale.
local searched = 1000

local lines_known = {}

-- The line of a record: its priority in decimal, a colon, its type.
local function line_of(record)
  local length = string.byte(record, head.type)
  local name = string.sub(record, head.priority, head.priority + 1)
    .. string.sub(record, head.size + 1, head.size + length)
  local line = lines_known[name]
  if not line then
    local high, low = string.byte(name, 1, 2)
    line = (high * 256 + low - 1000) .. ':' .. string.sub(name, 3)
    lines_known[name] = line
  end
  return line
end

local function list_key(line)
  return base .. 'r:' .. line
end

-- What an entry of the job ends with.
local function entry_end(at, id)
  return string.sub(at, 3) .. id
end

local function entry_of(side, record, id)
  return new_place(side) .. string.sub(record, head.at + 2, head.at + 7) .. id
end

-- True when the entry tells of the job as it is: `record` is its record.
local function is_valid(entry, record)
  return record
    and state_in(record) == 'R'
    and string.sub(entry, entry_part.at, entry_part.at + 5)
      == string.sub(record, head.at + 2, head.at + 7)
end

-- Lists that were searched in this call: ends of entries -> entries.
local lists_seen = {}

local function use_line(line)
  redis.call('ZADD', key.lines, -tonumber(string.match(line, '^-?%d+')), line)
end

-- Puts entries at the end of a line, or in front, and says so if the line was empty.
local function push_ready(command, line, line_entries)
  lists_seen[line] = nil
  local length = redis.call(command, list_key(line), unpack(line_entries))
  if length == #line_entries then
    use_line(line)
    redis.call('PUBLISH', channel.ready, queue)
  end
end

-- Takes a ready job out of its line.
local function withdraw(record, id)
  local line = line_of(record)
  local length = redis.call('LLEN', list_key(line))
  if length > searched then
    count('stale', 1)
    return
  end
  local seen = lists_seen[line]
  if not seen then
    seen = {}
    for _, entry in ipairs(redis.call('LRANGE', list_key(line), 0, -1)) do
      seen[string.sub(entry, entry_part.at)] = entry
    end
    lists_seen[line] = seen
  end
  local entry = seen[string.sub(record, head.at + 2, head.at + 7) .. id]
  if entry and redis.call('LREM', list_key(line), 1, entry) == 1 and length == 1 then
    redis.call('ZREM', key.lines, line)
  end
end

-- True when some line has an entry.
local function any_ready()
  for _, line in ipairs(redis.call('ZRANGE', key.lines, 0, 99)) do
    if redis.call('EXISTS', list_key(line)) == 1 then
      return true
    end
  end
  return false
end

-- The entries of several lines, next ones first: { place =, entry =, line = }. At most `most`, at
-- least one if there is one. `read` answers the first so many entries of a line, in order;
-- `sign` is -1 when greater places come first.
local function merge(lines, most, read, sign)
  local each = math.max(1, math.ceil(2 * most / #lines))
  local found, horizon = {}, math.huge
  for _, line in ipairs(lines) do
    local line_entries = read(line, each)
    for _, entry in ipairs(line_entries) do
      found[#found + 1] = { place = struct.unpack('>I6', entry), entry = entry, line = line }
    end
    if #line_entries == each then
      -- What comes behind in this line is not known.
      horizon = math.min(horizon, sign * found[#found].place)
    end
  end
  table.sort(found, function(one, other)
    return sign * one.place < sign * other.place
  end)
  local last = #found
  while last > most or (last > 1 and sign * found[last].place > horizon) do
    found[last] = nil
    last = last - 1
  end
  return found
end
