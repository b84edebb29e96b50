-- BATCH_FINISHED: the results are joined. → 'ok' | 'gone' | the status that does not allow it
local id, output_file_id, error_file_id = unpack(ARGV)

local status, ends_as = batch_get(id, 'status', 'ends_as')
if not status then return 'gone' end
if status == ends_as then return 'ok' end
if status ~= 'finalizing' then return status end
redis.call('HSET', batch_key(id), 'output_file_id', output_file_id,
  'error_file_id', error_file_id)
set_batch_status(id, ends_as)
return 'ok'
