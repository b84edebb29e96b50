-- BATCH_RETRY: of an ended batch, do the chunks with failures again and open those that never were;
-- one that was cancelled before its source was read begins anew.
-- → 'ok' | 'gone' | why it cannot be
local id = ARGV[1]

local status, chunks, retries, window = batch_get(id, 'status', 'chunks', 'retries', 'window_ms')
if not status then return 'gone' end
if status == 'failed' or not BATCH_ENDS[status] then
  local opens = status == 'validating' or status == 'in_progress' or status == 'paused'
  return retries and opens and 'ok' or status
end
for _, chunk in ipairs(redis.call('HKEYS', failed_key(id))) do
  redis.call('ZADD', redo_key(id), chunk, chunk)
end
if chunks and not chunks_left(id) then return status .. ', and nothing is left to do' end

window = tonumber(window)
redis.call('HDEL', batch_key(id), 'finalizing_at', 'completed_at', 'expired_at', 'cancelling_at',
  'cancelled_at', 'expires_at', 'output_file_id', 'error_file_id')
redis.call('HSET', batch_key(id), 'ends_as', 'completed',
  'deadline_at', window > 0 and now + window or 0)
redis.call('HINCRBY', batch_key(id), 'retries', 1)
set_batch_status(id, chunks and 'in_progress' or 'validating')
return 'ok'
