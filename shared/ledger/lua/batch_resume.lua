-- BATCH_RESUME: open chunks again. → 'ok' | 'gone' | the status that does not allow it
local id = ARGV[1]

local status = batch_get(id, 'status')
if status == 'paused' then
  set_batch_status(id, 'in_progress')
elseif status == 'validating' then
  redis.call('HSET', batch_key(id), 'start_paused', 0)
elseif status ~= 'in_progress' then
  return status or 'gone'
end
return 'ok'
