-- BATCH_OUTCOME: keep what came of a batch among the latest such outcomes; a repeat changes nothing.
local signature, outcome, most = unpack(ARGV)

local key = 'outcomes:' .. signature
if not redis.call('LPOS', key, outcome) then
  redis.call('LPUSH', key, outcome)
  redis.call('LTRIM', key, 0, most - 1)
end
redis.call('EXPIRE', key, 90 * 86400)
