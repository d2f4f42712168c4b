-- Shared by scripts that touch ready lists; needs ledger.lua.
--
-- An entry is the job's place (6 bytes), the moment since when it is ready (6) and its id. It is
-- valid if the job is ready since then.
local entry_part = { at = 7, id = 13 }

local lines_known = {}

-- The line of a job: its priority in decimal, a colon, its type.
local function line_of(job)
  local name = string.sub(job, head.priority, head.priority + 1)
  local length = string.byte(job, head.type)
  if length > 0 then
    name = name .. string.sub(job, head.size + 1, head.size + length)
  end
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

-- A new entry behind all others or in front of them ('back', 'front'), for a job that is ready since
-- `at` (8 bytes).
local function new_entry(side, at, id)
  local numbers, place = ledger(), 140737488355328
  numbers[field[side]] = numbers[field[side]] + 1
  ledger_changed = true
  if side == 'back' then
    place = place + numbers[field.back]
  else
    place = place - numbers[field.front]
  end
  return struct.pack('>I6', place) .. string.sub(at, 3) .. id
end

local function use_line(line)
  redis.call('ZADD', key.lines, -tonumber(string.match(line, '^-?%d+')), line)
end

local pushes = 0

-- Puts entries at the end of a line, or in front, and says so if the line was empty.
local function push_ready(command, line, line_entries)
  pushes = pushes + 1
  local length = redis.call(command, list_key(line), unpack(line_entries))
  if length == #line_entries then
    use_line(line)
    redis.call('PUBLISH', channel.ready, origin .. ' ' .. queue)
  end
end
