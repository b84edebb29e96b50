-- SUBMIT: record a job and put its first step in the queue. Repeating it changes nothing.
-- → {'created' | 'repeat' | 'conflict' | 'missing', job id or file id}
local id, tenant, kind, priority, input, metadata, steps, queues, files,
  deadline_ms, retention_ms, key, body_hash = unpack(ARGV)

if redis.call('EXISTS', job_key(id)) == 1 then return {'created', id} end
local request = 'idempotency:' .. tenant .. ':' .. key
if key ~= '' then
  local seen, hash = unpack(redis.call('HMGET', request, 'job', 'hash'))
  if seen then return {hash == body_hash and 'repeat' or 'conflict', seen} end
end
for _, file in ipairs(cjson.decode(files)) do
  local owner, deleted = unpack(redis.call('HMGET', 'file:' .. file, 'tenant', 'deleted'))
  if owner ~= tenant or deleted then return {'missing', file} end
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
redis.call('ZADD', 'jobs:' .. tenant, seq, id)
set_status(id, 'queued')
for _, file in ipairs(cjson.decode(files)) do
  redis.call('SADD', 'file:' .. file .. ':jobs', id)
end
if key ~= '' then
  redis.call('HSET', request, 'job', id, 'hash', body_hash)
  redis.call('EXPIRE', request, IDEMPOTENCY_S)
end
enqueue(id, 0)
mark_unsaved(id)
remember()
count('submitted')
return {'created', id}
