-- The jobs that come with a move: a part of commit.lua; needs enqueue.lua and dedup.lua.

-- What the follow-ups of `t` will find once it is applied.
local function group_after(t)
  local group = new_group('', '')
  group.states[t.id] = t.keep ~= 'none' and t.state
  if t.free ~= '' then
    local holder = redis.call('GET', base .. 'd:' .. t.free)
    local waiting = waiting_for(t.free, t.id)
    if waiting and state_of(waiting.id) == 'B' then
      group.held[t.free] = waiting.id
      group.states[waiting.id] = 'R'
    elseif holder == 'U' .. t.id or holder == 'S' .. t.id then
      group.held[t.free] = false
    end
  end
  return group
end
