-- UNSERVED: fail what waits in a queue that no live worker has served for a set time.
-- → how many jobs were failed
local queue, limit, message = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local failed = 0
for _, set in ipairs({'waiting:', 'published:'}) do
  for _, id in ipairs(redis.call('ZRANGE', set .. queue, 0, limit - 1)) do
    fail(id, 'model_not_available', message)
    failed = failed + 1
  end
end
return failed
