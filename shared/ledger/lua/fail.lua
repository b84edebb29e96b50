-- FAIL: give a step up. With `retry` it is tried again after `delay_ms`, until its attempts are
-- used up; without `burn` this attempt does not count.
-- → 'retry' | 'failed' | 'canceled' | 'fenced'
local id, step, fence, code, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local retry, burn = ARGV[6] == '1', ARGV[7] == '1'
local delay_ms, max_attempts = tonumber(ARGV[8]), tonumber(ARGV[9])

local refusal = turned_away(id, step, fence)
if refusal then return refusal end
if retry and not burn then redis.call('HINCRBY', job_key(id), 'attempt', -1) end
local attempt = tonumber(redis.call('HGET', job_key(id), 'attempt'))
if not retry or attempt >= max_attempts then
  fail(id, code, message)
  return 'failed'
end
redis.call('HSET', job_key(id), 'phase', 'delayed', field(step, 'status'), 'queued')
redis.call('HDEL', job_key(id), 'worker', 'claim', 'lease_until')
set_due(id, now + delay_ms)
count('retries')
return 'retry'
