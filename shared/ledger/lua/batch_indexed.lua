-- BATCH_INDEXED: the source is read; a batch that is not `validating` any more stays as it is.
-- → 'ok' | 'gone'
local id, chunks, total, bytes = unpack(ARGV)

local status, start_paused = batch_get(id, 'status', 'start_paused')
if not status then return 'gone' end
if status ~= 'validating' then return 'ok' end
redis.call('HSET', batch_key(id), 'chunks', chunks, 'total', total, 'bytes', bytes,
  'next_chunk', 0, 'start_paused', 0)
if start_paused == '1' then
  set_batch_status(id, 'paused')
  redis.call('HSET', batch_key(id), 'paused_by', 'user')
else
  set_batch_status(id, 'in_progress')
end
return 'ok'
