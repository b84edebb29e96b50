-- BATCH_CREATE: record a batch whose source is to be read. Repeating it changes nothing.
-- → {'created' | 'repeat' | 'conflict' | 'missing', batch id or file id}
local id, tenant, request, metadata, base_url, files, start_paused, retention_ms, window_ms,
  key, body_hash = unpack(ARGV)

if redis.call('EXISTS', batch_key(id)) == 1 then return {'created', id} end
local repeated = repeated_request(tenant, key, body_hash)
if repeated then return repeated end
local missing = missing_file(tenant, cjson.decode(files))
if missing then return {'missing', missing} end

local window = tonumber(window_ms)
local seq = redis.call('INCR', 'batch_number')
redis.call('HSET', batch_key(id), 'id', id, 'tenant', tenant, 'seq', seq, 'request', request,
  'metadata', metadata, 'base_url', base_url, 'files', files, 'start_paused', start_paused,
  'retention_ms', retention_ms, 'window_ms', window_ms,
  'deadline_at', window > 0 and now + window or 0, 'idempotency', key, 'body_hash', body_hash,
  'created_at', now, 'ends_as', 'completed')
redis.call('ZADD', 'batches:' .. tenant, seq, id)
set_batch_status(id, 'validating')
keep_request(tenant, key, body_hash, id, now)
remember()
return {'created', id}
