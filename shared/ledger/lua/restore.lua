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
keep_request(tenant, key, body_hash, id, created_at)

if phase == 'ended' then
  redis.call('ZADD', 'expires', expires_at, job_key(id))
  return 1
end
hold_files(cjson.decode(files), id)
if status == 'canceling' then
  finish(id, 'canceled', nil)
else
  enqueue(id, tonumber(step))
  mark_unsaved(id)
end
return 1
