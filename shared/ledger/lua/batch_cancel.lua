-- BATCH_CANCEL: open no more chunks; when the open ones are closed the batch ends as `cancelled` or
-- `expired`. → 'ok' | 'gone' | the status that does not allow it
local id, ends_as = ARGV[1], ARGV[2]

local status, already = batch_get(id, 'status', 'ends_as')
if not status then return 'gone' end
if BATCH_ENDS[status] then return status == ends_as and 'ok' or status end
if already ~= 'completed' then return 'ok' end
if status == 'finalizing' then return status end
redis.call('HSET', batch_key(id), 'ends_as', ends_as)
set_batch_status(id, 'cancelling')
settle(id)
return 'ok'
