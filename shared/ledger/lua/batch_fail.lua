-- BATCH_FAIL: the source is of no use; a batch that is not `validating` any more stays as it is.
-- → 'ok' | 'gone'
local id, problems = ARGV[1], ARGV[2]

local status = batch_get(id, 'status')
if not status then return 'gone' end
if status ~= 'validating' then return 'ok' end
redis.call('HSET', batch_key(id), 'problems', problems)
set_batch_status(id, 'failed')
return 'ok'
