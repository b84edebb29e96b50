-- RESTORE_FILE: put the record of an upload back, with its times as they were.
-- → 1 | 0 where it is there, or its object is about to be erased
local id, key, created_at, expires_at = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local record = 'file:' .. id
if redis.call('EXISTS', record) == 1 or redis.call('ZSCORE', 'garbage', key) then return 0 end
redis.call('HSET', record, 'id', id, 'key', key, 'created_at', created_at,
  'expires_at', expires_at, unpack(ARGV, 5))
redis.call('ZADD', 'expires', expires_at, record)
remember()
return 1
