-- Shared by scripts that move jobs between indexes.

-- id -> lease, or false, of jobs that were looked at.
local leases_known = {}

local function lease_of(id)
  if leases_known[id] == nil then
    leases_known[id] = redis.call('HGET', key.leases, id)
  end
  return leases_known[id]
end

-- Jobs that enter a zset in this call: zset -> id -> time. Written by flush_times().
local entering = {}

local function enter(zset, id, time)
  entering[zset] = entering[zset] or {}
  entering[zset][id] = time
end

local function flush_times()
  for zset, members in pairs(entering) do
    local times = {}
    for id, time in pairs(members) do
      times[#times + 1] = time
      times[#times + 1] = id
    end
    if #times > 0 then
      if zset == key.blocked then
        redis.call('ZADD', zset, unpack(times))
      else
        add_times(zset, times)
      end
    end
  end
  entering = {}
end
