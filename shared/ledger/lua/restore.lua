-- RESTORE: put a job back from its manifest, with the hash's fields as they were. One that had not
-- ended waits again for its current step; one that was being canceled is canceled.
-- → 1 | 0 where the job is there, or its objects are about to be erased
local id, status = ARGV[1], ARGV[2]

if redis.call('EXISTS', job_key(id)) == 1 then return 0 end
if redis.call('ZSCORE', 'garbage', job_prefix(id)) then return 0 end

local seq = redis.call('INCR', 'job_number')
redis.call('HSET', job_key(id), 'id', id, 'seq', seq, unpack(ARGV, 3))
local tenant, phase, step, files, key, body_hash, created_at, expires_at = get(id, 'tenant',
  'phase', 'step', 'files', 'idempotency', 'body_hash', 'created_at', 'expires_at')
redis.call('ZADD', 'jobs:' .. tenant, seq, id)
set_status(id, status)
remember()

local request = 'idempotency:' .. tenant .. ':' .. key
local request_s = math.ceil((created_at - now) / 1000) + IDEMPOTENCY_S
if key ~= '' and request_s > 0 and redis.call('EXISTS', request) == 0 then
  redis.call('HSET', request, 'job', id, 'hash', body_hash)
  redis.call('EXPIRE', request, request_s)
end

if phase == 'ended' then
  redis.call('ZADD', 'expires', expires_at, job_key(id))
  return 1
end
for _, file in ipairs(cjson.decode(files)) do
  redis.call('SADD', 'file:' .. file .. ':jobs', id)
end
if status == 'canceling' then
  finish(id, 'canceled', nil)
else
  enqueue(id, tonumber(step))
  mark_unsaved(id)
end
return 1
