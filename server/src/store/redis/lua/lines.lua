-- Shared by scripts that read ready lists; needs ready.lua and job.lua.

-- True when the entry tells of the job as it is.
local function is_valid(entry, job)
  return state_in(job) == 'R'
    and string.sub(entry, entry_part.at, entry_part.at + 5)
      == string.sub(job, head.at + 2, head.at + 7)
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
