-- RENEW: extend the lease and record progress. A step's time limit and the job's deadline are
-- absolute: past them a renewal is refused, however alive the worker is.
-- → 'ok' | 'cancel' | 'deadline' | 'lost'
local id, step, fence, progress, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local lease_ms = tonumber(ARGV[6])

if not holds(id, step, fence) then return 'lost' end
local cancel, limit, deadline = get(id, 'cancel', 'step_deadline', 'deadline_at')
if cancel then return 'cancel' end
deadline = tonumber(deadline)
if now >= tonumber(limit) or (deadline > 0 and now >= deadline) then return 'deadline' end
redis.call('HSET', job_key(id), 'progress', progress, 'message', message,
  'lease_until', now + lease_ms)
set_due(id, now + lease_ms)
return 'ok'
