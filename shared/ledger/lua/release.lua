-- RELEASE: hand a step back unfinished, at the front of its queue and at no cost of an attempt.
-- → 'released' | 'canceled' | 'fenced'
local id, step, fence = ARGV[1], ARGV[2], ARGV[3]

if not holds(id, step, fence) then
  count('fenced')
  return 'fenced'
end
if redis.call('HGET', job_key(id), 'cancel') then
  finish(id, 'canceled', nil)
  return 'canceled'
end
redis.call('HINCRBY', job_key(id), 'attempt', -1)
enqueue(id, tonumber(step))
count('released')
return 'released'
