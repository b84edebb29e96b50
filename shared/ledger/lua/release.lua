-- RELEASE: hand a step back unfinished, at the front of its queue and at no cost of an attempt.
-- → 'released' | 'canceled' | 'fenced'
local id, step, fence = ARGV[1], ARGV[2], ARGV[3]

local refusal = turned_away(id, step, fence)
if refusal then return refusal end
redis.call('HINCRBY', job_key(id), 'attempt', -1)
enqueue(id, tonumber(step))
count('released')
return 'released'
