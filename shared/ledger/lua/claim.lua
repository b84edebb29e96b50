-- CLAIM: take the lease of a step. `token` names this attempt to claim, so that asking again
-- after a lost answer gives the same lease.
-- → {'ok', fence, attempt, 1 when others wait to be let into the queue} |
--   {'stale', 1 when the next step is still unclaimed} | {'busy'} | {'terminal'} | {'gone'}
local id, step, worker, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, step_timeout_ms = tonumber(ARGV[5]), tonumber(ARGV[6])

local function others_wait() return redis.call('EXISTS', 'waiting:' .. queue_of(id, step)) end

local current, phase, claim = get(id, 'step', 'phase', 'claim')
if not current then return {'gone'} end
if phase == 'ended' then return {'terminal'} end
if tonumber(step) < tonumber(current) then
  local next_unclaimed = tonumber(step) + 1 == tonumber(current) and phase == 'published'
  return {'stale', next_unclaimed and 1 or 0}
end
if step ~= current then return {'busy'} end
if phase == 'leased' then
  if claim ~= token then return {'busy'} end
  local fence, attempt = get(id, 'fence', 'attempt')
  return {'ok', tonumber(fence), tonumber(attempt), others_wait()}
end
if phase == 'delayed' then return {'busy'} end -- the retry timer rings when it is time
if overdue(id) then return {'terminal'} end

local queue = queue_of(id, step)
-- Which of the step's messages this is cannot be known; the first proves the least to REAP.
local published_at = tonumber(redis.call('HGET', job_key(id), 'first_published_at') or '0')
if published_at > tonumber(redis.call('GET', 'claimed:' .. queue) or '0') then
  redis.call('SET', 'claimed:' .. queue, published_at)
end
leave_queue(id, step)
local fence = redis.call('HINCRBY', job_key(id), 'fence', 1)
local attempt = redis.call('HINCRBY', job_key(id), 'attempt', 1)
redis.call('HSETNX', job_key(id), 'started_at', now)
redis.call('HSET', job_key(id), 'phase', 'leased', 'worker', worker, 'claim', token,
  'lease_until', now + lease_ms, 'step_deadline', now + step_timeout_ms,
  'progress', 0, 'message', '', 'metrics', '',
  field(step, 'status'), 'running', field(step, 'started_at'), now,
  field(step, 'attempts'), attempt)
set_status(id, 'running')
set_due(id, now + lease_ms)
count('claims')
return {'ok', fence, attempt, others_wait()}
