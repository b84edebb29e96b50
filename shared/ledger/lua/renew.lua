-- RENEW: extend the lease and record progress. A step's time limit and the job's deadline are
-- absolute: past them a renewal is refused, however alive the worker is. With a `step_timeout_ms`
-- the step has `saved` what it can go on from, which proves that it does not hang and kills no
-- worker at once: its time limit and the count of its attempts start anew.
-- → 'ok' | 'cancel' | 'deadline' | 'lost'
local id, step, fence, progress, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local metrics, lease_ms, step_timeout_ms = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])

if not holds(id, step, fence) then return 'lost' end
local cancel, limit, deadline = get(id, 'cancel', 'step_deadline', 'deadline_at')
if cancel then return 'cancel' end
deadline = tonumber(deadline)
if now >= tonumber(limit) or (deadline > 0 and now >= deadline) then return 'deadline' end
redis.call('HSET', job_key(id), 'progress', progress, 'message', message, 'metrics', metrics,
  'lease_until', now + lease_ms)
if step_timeout_ms then
  redis.call('HSET', job_key(id), 'step_deadline', now + step_timeout_ms, 'attempt', 1)
end
set_due(id, now + lease_ms)
return 'ok'
