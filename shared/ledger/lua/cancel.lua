-- CANCEL: end a job that no worker holds at once; ask the worker of a running one to stop.
-- With `erase` the job is forgotten as soon as it has ended. → 'ok' | 'gone'
local id, erase_flag = ARGV[1], ARGV[2] == '1'

local phase = get(id, 'phase')
if not phase then return 'gone' end
if phase == 'ended' then
  if erase_flag then erase(id) end
  return 'ok'
end
redis.call('HSET', job_key(id), 'cancel', 1)
if erase_flag then
  redis.call('HSET', job_key(id), 'erase', 1)
  forget_request(job_key(id), id)
end
if phase == 'leased' then
  set_status(id, 'canceling')
else
  finish(id, 'canceled', nil)
end
return 'ok'
