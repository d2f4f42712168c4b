-- Shared by insert_any.lua and commit_any.lua: what becomes of jobs to insert; needs batch.lua and, for jobs
-- that have extras, dedup.lua.
--
-- Per job: id, '1' if the caller chose it, record, due time or '' when ready, request id or '',
--   digest (16 bytes), dedup key or '', its scope ('S' until started, 'U' until finished,
--   'W' window) and what it does to a holder ('K' keep, 'P' replace, 'A' run after, 'X' reject),
--   its time to live in ms or '', event.
-- Outcomes: {'new'}, {'replayed', id}, {'duplicate', id}, {'replaced', id}, {'behind', id}; those
--   that refuse the group: {'rejected', id, state}, {'full'}, {'reused'}, {'exists', state}; and
--   {'withheld'} for the others of a refused group.
local refusals = { rejected = true, full = true, reused = true, exists = true }
local outcome_new = { 'new' }

local function read_jobs(number)
  local jobs = {}
  for i = 1, number do
    jobs[i] = {
      id = take(), chosen = take() == '1', record = take(), due = take(), request = take(),
      digest = take(), dedup = take(), rule = take(), ttl = take(), event = take(),
    }
  end
  return jobs
end

-- A queue that was deleted has left no requests to another one of its name.
local function request_key(request)
  return base .. 'q:' .. plain(ledger()[field.began]) .. ':' .. request
end

-- What a group's request did when it came before: `group.made` tells of each job whether it was made, or
-- nothing if all were, as mostly: it is kept for long.
local function recall(group, request, digest)
  local known = request ~= '' and redis.call('GET', request_key(request))
  if known then
    group.made, group.reused = string.sub(known, 17), string.sub(known, 1, 16) ~= digest
  end
end

-- Remembers which jobs of a group its request made.
local function remember(group, request, digest, outcomes)
  if request == '' or group.reused then
    return
  end
  local made = {}
  for i, outcome in ipairs(outcomes) do
    local word = outcome[1]
    made[i] = (word == 'new' or word == 'behind' or word == 'replayed') and '1' or '0'
  end
  made = table.concat(made)
  made = string.find(made, '0', 1, true) and made or ''
  redis.call('SET', request_key(request), digest .. made, 'PX', REQUEST_MEMORY)
end

-- What is to become of the job at `place` of its group. Writes nothing: the group may be refused.
local function decide(group, job, place)
  if group.reused then
    return { 'reused' }
  elseif group.made == '' or group.made and string.sub(group.made, place, place) == '1' then
    return { 'replayed', job.id }
  end
  local request = job.request
  if request ~= '' then
    local asked = group.asked[request]
    local known = not asked and redis.call('GET', request_key(request))
    if known then
      asked = { digest = string.sub(known, 1, 16), id = string.sub(known, 17) }
    end
    if asked then
      return asked.digest == job.digest and { 'replayed', asked.id } or { 'reused' }
    end
  end
  local taken = job.chosen and group_state(group, job.id)
  if taken then
    return { 'exists', taken }
  end
  local outcome = job.dedup ~= '' and meet(group, job) or outcome_new
  local is_new = outcome == outcome_new or outcome[1] == 'behind'
  if outcome[1] == 'replaced' then
    note_replaced(group, job, outcome[2])
  elseif is_new then
    local size = #job.record
    if group.jobs_left < 1 or group.bytes_left < size then
      return { 'full' }
    end
    group.jobs, group.jobs_left = group.jobs + 1, group.jobs_left - 1
    group.bytes, group.bytes_left = group.bytes + size, group.bytes_left - size
    if outcome == outcome_new then
      group.held[job.dedup] = job.id
      group.states[job.id] = job.due == '' and 'R' or 'S'
    else
      group.waiting[job.dedup] = job.id
      group.states[job.id] = 'B'
    end
  end
  if request ~= '' then
    group.asked[request] = { digest = job.digest, id = is_new and job.id or outcome[2] }
  end
  return outcome
end

-- The outcomes of a group, and the index of the first that is refused or nil.
local function decide_group(group, jobs)
  local outcomes, refused = {}, nil
  for i, job in ipairs(jobs) do
    outcomes[i] = decide(group, job, i)
    refused = refused or (refusals[outcomes[i][1]] and i)
  end
  return outcomes, refused
end

-- Makes the decided outcomes of a group true, but for those that are refused.
local function apply_group(group, jobs, outcomes)
  for i, job in ipairs(jobs) do
    local word, id = outcomes[i][1], outcomes[i][2]
    if word == 'duplicate' then
      tell('d', state_of(id) .. id)
    elseif word == 'replaced' then
      replace(job, id)
    elseif word == 'behind' then
      add_blocked(job, id)
      id = job.id
    elseif word == 'new' then
      id = job.id
      local whole = join(job.record)
      add_extras(job, whole)
      if job.due == '' then
        fresh[id] = 'R'
        local line = line_of(whole)
        local entries = ready[line]
        if not entries then
          entries = {}
          ready[line] = entries
          order[#order + 1] = line
        end
        entries[#entries + 1] = new_entry('back', string.sub(whole, head.at, head.at + 7), id)
      else
        fresh[id] = 'S'
        enter(key.scheduled, id, job.due)
      end
      records[#records + 1] = id
      records[#records + 1] = job.record
      count_size(#job.record)
      tell('b', job.event)
    end
    if job.request ~= '' and word ~= 'replayed' and not refusals[word] then
      redis.call('SET', request_key(job.request), job.digest .. id, 'PX', REQUEST_MEMORY)
    end
  end
  if group.jobs > 0 then
    count('enqueued', group.jobs)
    count('jobs', group.jobs)
    count('bytes', group.bytes)
    count_lately(0, group.jobs)
  end
end
