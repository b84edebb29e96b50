-- BATCH_DELETE: forget a batch, and erase what it made. → 'ok' | 'gone'
local id = ARGV[1]

if redis.call('EXISTS', batch_key(id)) == 0 then return 'gone' end
erase_batch(id)
return 'ok'
