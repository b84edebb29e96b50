-- BATCH_NOTE: keep values by name beside a batch. → 'ok' | 'gone'
local id = ARGV[1]

if redis.call('EXISTS', batch_key(id)) == 0 then return 'gone' end
for i = 2, #ARGV, 2 do
  redis.call('HSET', batch_key(id), 'note:' .. ARGV[i], ARGV[i + 1])
end
return 'ok'
