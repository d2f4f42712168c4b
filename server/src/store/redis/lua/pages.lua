-- Shared by scripts that read records, write them or forget them: those of a batch may share a page.
--
-- A page (pages.rs) is an entry of key.jobs whose name says which jobs it is for: 8 ids that follow each
-- other. key.live has a bit for each place whose job is still there. A record that changes leaves its
-- page, and so does one that stays for long after its neighbours: it becomes an entry of its own. So a
-- record is in one of the two.

-- The name of the page that the job would be in, and its place there from 0; nil for ids without pages.
local function page_of(id)
  if string.byte(id) ~= 1 or math.floor(string.byte(id, 8) / 16) ~= 5 then
    return nil
  end
  local last = string.byte(id, 17)
  local place = last % 8
  return '\2' .. string.sub(id, 2, 16) .. string.char(last - place), place
end

local function is_live(live, place)
  return math.floor(string.byte(live) / 2 ^ place) % 2 == 1
end

local function cut_out(page, place)
  local at, number, width = struct.unpack('>BBI2', page)
  at = place - at
  if width > 0 then
    return string.sub(page, 5 + at * width, 4 + (at + 1) * width)
  end
  local body = 4 + 2 * number
  local from = at > 0 and struct.unpack('>I2', page, 3 + 2 * at) or 0
  return string.sub(page, body + from + 1, body + struct.unpack('>I2', page, 5 + 2 * at))
end

-- The page that was read last: neighbours are often asked for together.
local page_read, page_text = nil, nil

-- The record of a job that has no entry of its own; false when there is none.
local function paged_record(id)
  local page, place = page_of(id)
  local live = page and redis.call('HGET', key.live, page)
  if not live or not is_live(live, place) then
    return false
  end
  if page ~= page_read then
    page_read, page_text = page, redis.call('HGET', key.jobs, page)
  end
  return cut_out(page_text, place)
end

-- The record of a job; false when there is none.
local function record_of(id)
  return redis.call('HGET', key.jobs, id) or paged_record(id)
end

local function records_of(ids)
  local found = redis.call('HMGET', key.jobs, unpack(ids))
  for i, record in ipairs(found) do
    found[i] = record or paged_record(ids[i])
  end
  return found
end

local function record_size(id)
  local size = redis.call('HSTRLEN', key.jobs, id)
  return size > 0 and size or #(paged_record(id) or '')
end

-- Nothing of these jobs is in a page any more.
local function leave_pages(ids)
  local known, order = {}, {}
  for _, id in ipairs(ids) do
    local page, place = page_of(id)
    if page and known[page] == nil then
      known[page] = redis.call('HGET', key.live, page)
      order[#order + 1] = known[page] and page or nil
    end
    if page and known[page] and is_live(known[page], place) then
      known[page] = string.char(string.byte(known[page]) - 2 ^ place)
    end
  end
  for _, page in ipairs(order) do
    if known[page] == '\0' then
      redis.call('HDEL', key.live, page)
      redis.call('HDEL', key.jobs, page)
    else
      redis.call('HSET', key.live, page, known[page])
    end
  end
end

local function write_record(id, record)
  redis.call('HSET', key.jobs, id, record)
  leave_pages({ id })
end

-- Gives the job an entry of its own.
local function part_record(id)
  local record = paged_record(id)
  if record then
    write_record(id, record)
  end
end

local function forget_records(ids)
  redis.call('HDEL', key.jobs, unpack(ids))
  leave_pages(ids)
end
