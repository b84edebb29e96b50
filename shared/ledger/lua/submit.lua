-- SUBMIT: record a job and put its first step in the queue. Repeating it changes nothing.
-- One of a batch must find its chunk open, and then belongs to it.
-- → {'created' | 'repeat' | 'conflict' | 'missing' | 'closed', job id or file id}
local id, tenant, kind, priority, input, metadata, steps, queues, files,
  deadline_ms, retention_ms, key, body_hash, batch, items = unpack(ARGV)

if redis.call('EXISTS', job_key(id)) == 1 then return {'created', id} end
local repeated = repeated_request(tenant, key, body_hash)
if repeated then return repeated end
local missing = missing_file(tenant, cjson.decode(files))
if missing then return {'missing', missing} end

if batch ~= '' then
  local place = cjson.decode(batch)
  if opening_of(place.batch_id, place.chunk) ~= place.opening then return {'closed', id} end
  redis.call('SADD', chunk_set(place.batch_id, place.opening), id)
end

local deadline = tonumber(deadline_ms)
if deadline > 0 then deadline = now + deadline end
local seq = redis.call('INCR', 'job_number')
redis.call('HSET', job_key(id), 'id', id, 'tenant', tenant, 'kind', kind, 'priority', priority,
  'input', input, 'metadata', metadata, 'steps', steps, 'queues', queues, 'files', files,
  'step_count', #cjson.decode(steps), 'step', 0, 'seq', seq, 'fence', 0, 'attempt', 0,
  'created_at', now, 'expires_at', now + retention_ms, 'retention_ms', retention_ms,
  'deadline_at', deadline, 'idempotency', key, 'body_hash', body_hash,
  field(0, 'queued_at'), now)
if batch ~= '' then
  redis.call('HSET', job_key(id), 'batch', batch, 'items', items)
else
  redis.call('ZADD', 'jobs:' .. tenant, seq, id)
end
set_status(id, 'queued')
hold_files(cjson.decode(files), id)
keep_request(tenant, key, body_hash, id, now)
enqueue(id, 0)
mark_unsaved(id)
remember()
count('submitted')
return {'created', id}
