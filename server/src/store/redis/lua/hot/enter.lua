-- Remembers requests, which stand from `asked` to before `forms`, each as its id and what is remembered,
-- and writes the records of the `added` jobs, which stand with their ids or pages from `record` to
-- `last`. Undoes that and leaves the work to others if a request or the id of a lone job is known: to
-- find it so is cheaper than to look first.
local requests = ARGV[1] .. 'q:' .. string.format('%.0f', began) .. ':'
local remembered = asked
while remembered < forms and redis.call(
  'SET', requests .. ARGV[remembered], ARGV[remembered + 1], 'PX', REQUEST_MEMORY, 'NX'
) do
  remembered = remembered + 2
end
local is_free = remembered == forms
if is_free and added == 1 then
  is_free = redis.call('HSETNX', KEYS[16], ARGV[record], ARGV[last]) == 1
elseif is_free then
  redis.call('HSET', KEYS[16], unpack(ARGV, record, last))
end
if not is_free then
  for i = asked, remembered - 2, 2 do
    redis.call('DEL', requests .. ARGV[i])
  end
  return 'any'
end
