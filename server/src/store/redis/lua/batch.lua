-- Shared by dedup.lua and enqueue.lua: jobs that this call inserts, written together; needs ready.lua
-- job.lua and times.lua.

local fresh = {} -- id -> state letter
local records, ready, order = {}, {}, {} -- records: id, record, id, record…

-- Writes what the call has inserted so far.
local function flush_inserts()
  if #records > 0 then
    redis.call('HSET', key.jobs, unpack(records))
    records = {}
  end
  for _, line in ipairs(order) do
    push_ready('RPUSH', line, ready[line])
  end
  ready, order = {}, {}
  flush_times()
end

local function state_of(id)
  if fresh[id] then
    return fresh[id]
  end
  local job = read_job(id)
  if job == '' then
    return nil
  end
  return lease_of(id) and 'L' or state_in(job)
end

-- A group's view: what its jobs will have done by the time the next one is decided. `states` and
-- `held` hold false for a job and a key that will be gone; `replaced` holds the states of jobs that
-- were there and will do something else.
local function new_group(jobs_room, bytes_room)
  local numbers = ledger()
  return {
    asked = {}, states = {}, replaced = {}, held = {}, waiting = {}, jobs = 0, bytes = 0,
    jobs_left = (tonumber(jobs_room) or math.huge) - numbers[field.jobs],
    bytes_left = (tonumber(bytes_room) or math.huge) - numbers[field.bytes],
  }
end

local function group_state(group, id)
  if group.states[id] ~= nil then
    return group.states[id] or nil
  end
  return group.replaced[id] or state_of(id)
end
