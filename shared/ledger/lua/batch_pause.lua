-- BATCH_PAUSE: open no more chunks. `by`: the `user`, whose word outlives the `schedule`'s.
-- → 'ok' | 'gone' | the status that does not allow it
local id, by = ARGV[1], ARGV[2]

local status = batch_get(id, 'status')
if status == 'in_progress' then
  set_batch_status(id, 'paused')
  redis.call('HSET', batch_key(id), 'paused_by', by)
elseif status == 'paused' and by == 'user' then
  redis.call('HSET', batch_key(id), 'paused_by', by)
elseif status == 'validating' and by == 'user' then
  redis.call('HSET', batch_key(id), 'start_paused', 1)
elseif status ~= 'paused' then
  return status or 'gone'
end
return 'ok'
