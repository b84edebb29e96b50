-- COMMIT: record a step's output under the live fence and move on: to the next step, whose
-- message Celery's chain publishes, or to `succeeded`.
-- → 'next' | 'succeeded' | 'already' | 'canceled' | 'fenced'
local id, step, fence, output, grace = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

if redis.call('HGET', job_key(id), field(step, 'fence')) == fence then return 'already' end
local refusal = turned_away(id, step, fence)
if refusal then return refusal end
redis.call('HSET', job_key(id), field(step, 'status'), 'succeeded', field(step, 'output'), output,
  field(step, 'fence'), fence, field(step, 'finished_at'), now)
redis.call('HDEL', job_key(id), 'worker', 'claim', 'lease_until')
count('commits')
local following = tonumber(step) + 1
if following == plan_of(id).step_count then
  finish(id, 'succeeded', nil)
  return 'succeeded'
end
redis.call('HSET', job_key(id), 'step', following, 'attempt', 0,
  'progress', 0, 'message', '', 'metrics', '',
  field(following, 'status'), 'queued', field(following, 'queued_at'), now)
redis.call('SADD', 'queues', queue_of(id, following))
mark_published(id, following, grace)
mark_unsaved(id)
return 'next'
