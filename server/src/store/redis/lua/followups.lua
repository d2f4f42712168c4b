-- The jobs that come with a move: a part of commit_any.lua; needs enqueue.lua and dedup.lua.

-- What the follow-ups of `t` will find once it is applied.
local function group_after(t)
  local group = new_group('', '')
  group.states[t.id] = t.keep ~= 'none' and t.state
  if t.free ~= '' then
    local held = redis.call('GET', base .. 'd:' .. t.free)
    local is_own = held and string.sub(held, 2) == t.id
    local waiting = waiting_for(t.free, t.id)
    if waiting and state_of(waiting.id) == 'B' then
      group.states[waiting.id] = 'R'
      if is_own or not held then
        group.held[t.free] = waiting.id
      end
    elseif is_own and string.sub(held, 1, 1) ~= 'W' then
      group.held[t.free] = false
    end
  end
  return group
end
