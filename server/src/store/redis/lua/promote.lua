-- Makes jobs ready whose time has come, earliest first, then by id.
--
-- Arguments: limit.
-- Reply: how many.
-- Touches: scheduled, retrying, courses, ready lists, ledger, events.
local limit = tonumber(take())

local due = {}
for state, zset in pairs({ S = key.scheduled, T = key.retrying }) do
  local found = redis.call('ZRANGEBYSCORE', zset, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #found, 2 do
    due[#due + 1] = { id = found[i], at = tonumber(found[i + 1]), state = state, zset = zset }
  end
end
table.sort(due, function(one, other)
  if one.at == other.at then
    return is_before(one.id, other.id)
  end
  return one.at < other.at
end)

local number = math.min(#due, limit)
local ready, order, told = {}, {}, { now, ';' }
for i = 1, number do
  local job = due[i]
  redis.call('ZREM', job.zset, job.id)
  local whole = read_job(job.id)
  if whole ~= '' then
    local since = string.sub(whole, head.at, head.at + 7)
    write_state(job.id, whole, 'R', since)
    local line = line_of(whole)
    if not ready[line] then
      ready[line] = {}
      order[#order + 1] = line
    end
    table.insert(ready[line], new_entry('back', since, job.id))
    told[#told + 1] = job.state .. string.char(#job.id) .. job.id
  end
end
for _, line in ipairs(order) do
  push_ready('RPUSH', line, ready[line])
end
if #order > 0 then
  tell('p', table.concat(told), #told - 2)
end
write_ledger()
write_log()
return number
