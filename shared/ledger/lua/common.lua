-- What every script of the ledger shares; put before each of them.
--
-- Keys: job:{id} hash · due zset (every job that has not ended, by its next deadline) ·
-- waiting:{queue} zset (steps whose turn has come, in order of submission) · published:{queue} zset
-- (steps whose message is in the broker, by publish number) · claimed:{queue} (when the youngest
-- message claimed so far was published) · queues set · jobs:{tenant} and jobs:{tenant}:{status}
-- zsets (for listing) · unsaved zset (jobs whose manifest is behind, by since when) · expires zset
-- (`job:{id}` of ended jobs and `file:{id}`, by when they go) · garbage zset (object keys to erase)
-- · file:{id} hash, file:{id}:jobs set (the unfinished jobs and batches that need it) ·
-- idempotency:{tenant}:{key} hash · turn:{name} · cursors hash · knows_since · counters hash. Those
-- of batches are named in common_batches.lua.
--
-- A job's `phase` says who acts next: `waiting` (the admission), `delayed` (the retry timer),
-- `published` (a worker, when the message arrives), `leased` (the worker that holds it), `ended`.
-- Jobs of a batch are in no listing, need no manifest and do not expire: the chunk that they belong
-- to decides over them. All times are milliseconds on this server's clock.

local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local now = clock()

local IDEMPOTENCY_S = 86400 -- how long an Idempotency-Key stands for its job

local function job_key(id) return 'job:' .. id end

local function field(step, name) return 's' .. step .. ':' .. name end

local function count(name) redis.call('HINCRBY', 'counters', name, 1) end

local function get(id, ...)
  return unpack(redis.call('HMGET', job_key(id), ...))
end

-- What SUBMIT fixed for good; read once a call.
local plans = {}
local function plan_of(id)
  local plan = plans[id]
  if not plan then
    local tenant, seq, queues, step_count, deadline_at, batch =
      get(id, 'tenant', 'seq', 'queues', 'step_count', 'deadline_at', 'batch')
    plan = {tenant = tenant, seq = seq, queues = cjson.decode(queues),
      step_count = tonumber(step_count), deadline_at = tonumber(deadline_at), batch = batch}
    plans[id] = plan
  end
  return plan
end

local function queue_of(id, step) return plan_of(id).queues[step + 1] end

local function set_status(id, status)
  local old = redis.call('HGET', job_key(id), 'status')
  if old == status then return end
  redis.call('HSET', job_key(id), 'status', status)
  if plan_of(id).batch then return end
  local index = 'jobs:' .. plan_of(id).tenant .. ':'
  if old then redis.call('ZREM', index .. old, id) end
  redis.call('ZADD', index .. status, plan_of(id).seq, id)
end

-- The next moment at which the reaper must look, but no later than the job's own deadline.
local function set_due(id, at)
  local deadline = plan_of(id).deadline_at
  if deadline > 0 and deadline < at then at = deadline end
  redis.call('ZADD', 'due', at, id)
end

local function leave_queue(id, step)
  local queue = queue_of(id, step)
  redis.call('ZREM', 'waiting:' .. queue, id)
  redis.call('ZREM', 'published:' .. queue, id)
end

-- A waiting step is looked at by every admission; its due entry only guards the deadline. Were it
-- looked at often, a long backlog would keep the reaper from expired leases.
local WAITING_RECHECK = 86400000

local function enqueue(id, step)
  local queue = queue_of(id, step)
  redis.call('SADD', 'queues', queue)
  redis.call('ZADD', 'waiting:' .. queue, plan_of(id).seq, id)
  redis.call('HSET', job_key(id), 'phase', 'waiting', field(step, 'status'), 'queued')
  redis.call('HDEL', job_key(id), 'worker', 'claim', 'lease_until')
  set_due(id, now + WAITING_RECHECK)
end

-- `first`: when the step's first message was published, if this is not it.
local function mark_published(id, step, grace, first)
  local queue = queue_of(id, step)
  local number = redis.call('INCR', 'publish_number')
  redis.call('ZREM', 'waiting:' .. queue, id)
  redis.call('ZADD', 'published:' .. queue, number, id)
  redis.call('HSET', job_key(id), 'phase', 'published', 'published', number,
    'published_at', now, 'first_published_at', first or now)
  set_due(id, now + grace)
end

-- Why it is kept: `knows_since` in upkeep.py.
local function remember() redis.call('SET', 'knows_since', now, 'NX') end

local function mark_unsaved(id)
  redis.call('HINCRBY', job_key(id), 'version', 1)
  if not plan_of(id).batch then redis.call('ZADD', 'unsaved', 'NX', now, id) end
end

local function request_key(tenant, key) return 'idempotency:' .. tenant .. ':' .. key end

-- What a request with this Idempotency-Key is answered, if there was one before.
local function repeated_request(tenant, key, body_hash)
  if key == '' then return end
  local seen, hash = unpack(redis.call('HMGET', request_key(tenant, key), 'job', 'hash'))
  if seen then return {hash == body_hash and 'repeat' or 'conflict', seen} end
end

-- The Idempotency-Key stands for the job or batch `id` from `created_at` on.
local function keep_request(tenant, key, body_hash, id, created_at)
  local seconds = math.ceil((created_at - now) / 1000) + IDEMPOTENCY_S
  local request = request_key(tenant, key)
  if key ~= '' and seconds > 0 and redis.call('EXISTS', request) == 0 then
    redis.call('HSET', request, 'job', id, 'hash', body_hash)
    redis.call('EXPIRE', request, seconds)
  end
end

-- Let go of the Idempotency-Key: repeating the request of what was deleted makes a new one.
local function forget_request(key_of_record, id)
  local tenant, key = unpack(redis.call('HMGET', key_of_record, 'tenant', 'idempotency'))
  if key == '' then return end
  local request = request_key(tenant, key)
  if redis.call('HGET', request, 'job') == id then redis.call('DEL', request) end
end

local function job_prefix(id) return 'jobs/' .. id .. '/' end

-- The set of the jobs of one opening of a batch's chunk.
local function chunk_set(batch_id, opening)
  return 'batch:' .. batch_id .. ':jobs:' .. string.format('%d', opening)
end

local function erase(id)
  local tenant, status, batch = get(id, 'tenant', 'status', 'batch')
  if batch then
    local place = cjson.decode(batch)
    redis.call('SREM', chunk_set(place.batch_id, place.opening), id)
  end
  redis.call('ZREM', 'jobs:' .. tenant, id)
  redis.call('ZREM', 'jobs:' .. tenant .. ':' .. status, id)
  redis.call('ZREM', 'unsaved', id)
  redis.call('ZREM', 'expires', job_key(id))
  forget_request(job_key(id), id)
  redis.call('DEL', job_key(id))
  redis.call('ZADD', 'garbage', now, job_prefix(id))
end

-- The first of these files that is not there for the tenant.
local function missing_file(tenant, files)
  for _, file in ipairs(files) do
    local owner, deleted = unpack(redis.call('HMGET', 'file:' .. file, 'tenant', 'deleted'))
    if owner ~= tenant or deleted then return file end
  end
end

-- The files stay for a job or batch that has not ended.
local function hold_files(files, holder)
  for _, file in ipairs(files) do redis.call('SADD', 'file:' .. file .. ':jobs', holder) end
end

-- Forget a file; its bytes are garbage once no unfinished job or batch needs them.
local function forget_file(id)
  local record = 'file:' .. id
  redis.call('ZREM', 'expires', record)
  if redis.call('SCARD', record .. ':jobs') > 0 then
    redis.call('HSET', record, 'deleted', 1)
  else
    redis.call('ZADD', 'garbage', now, redis.call('HGET', record, 'key'))
    redis.call('DEL', record)
  end
end

local function let_files_go(files, holder)
  for _, file in ipairs(files) do
    redis.call('SREM', 'file:' .. file .. ':jobs', holder)
    if redis.call('HGET', 'file:' .. file, 'deleted') then forget_file(file) end
  end
end

-- The one way into a terminal state.
local function finish(id, status, error_json)
  local step, files, retention, erase_flag =
    get(id, 'step', 'files', 'retention_ms', 'erase')
  local expires_at = now + retention
  leave_queue(id, step)
  set_status(id, status)
  redis.call('HSET', job_key(id), 'phase', 'ended', 'finished_at', now, 'expires_at', expires_at)
  redis.call('HDEL', job_key(id), 'worker', 'claim', 'lease_until')
  if error_json then redis.call('HSET', job_key(id), 'error', error_json) end
  for i = tonumber(step), plan_of(id).step_count - 1 do
    if redis.call('HGET', job_key(id), field(i, 'status')) ~= 'succeeded' then
      local first = i == tonumber(step)
      redis.call('HSET', job_key(id), field(i, 'status'),
        (first and status == 'failed') and 'failed' or 'canceled')
    end
  end
  redis.call('ZREM', 'due', id)
  if not plan_of(id).batch then redis.call('ZADD', 'expires', expires_at, job_key(id)) end
  mark_unsaved(id)
  count(status)
  let_files_go(cjson.decode(files), id)
  if erase_flag then erase(id) end
end

local function fail(id, code, message)
  local step = tonumber(redis.call('HGET', job_key(id), 'step'))
  local plan = cjson.decode(redis.call('HGET', job_key(id), 'steps'))
  redis.call('HSET', job_key(id), field(step, 'finished_at'), now)
  finish(id, 'failed', cjson.encode({code = code, message = message, step = plan[step + 1].name}))
end

-- A deadline that passed: `expired` before the first step, a failure afterwards.
local function overdue(id)
  local deadline = plan_of(id).deadline_at
  if deadline == 0 or now < deadline then return false end
  if redis.call('HEXISTS', job_key(id), 'started_at') == 1 then
    fail(id, 'deadline_exceeded', 'the deadline passed while the job ran')
  else
    finish(id, 'expired', nil)
  end
  return true
end

-- Whether this fence holds the job's step now.
local function holds(id, step, fence)
  local current, phase, live = get(id, 'step', 'phase', 'fence')
  return phase == 'leased' and current == step and live == fence
end

-- What whoever reports a step's end is told instead, if it may not decide the step: `fenced` where
-- it does not hold it any more, `canceled` where a cancel was asked for, which takes effect now.
local function turned_away(id, step, fence)
  if not holds(id, step, fence) then
    count('fenced')
    return 'fenced'
  end
  if redis.call('HGET', job_key(id), 'cancel') then
    finish(id, 'canceled', nil)
    return 'canceled'
  end
end
