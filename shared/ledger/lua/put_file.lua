-- PUT_FILE: record an upload, or find the one that is there already and extend its life.
-- → the key that holds the bytes
local id, key, retention_ms = ARGV[1], ARGV[2], ARGV[3]

local record = 'file:' .. id
local present = redis.call('HGET', record, 'key')
if present then
  redis.call('HDEL', record, 'deleted')
else
  redis.call('HSET', record, 'id', id, 'key', key, 'created_at', now, unpack(ARGV, 4))
end
local expires_at = now + retention_ms
redis.call('HSET', record, 'expires_at', expires_at)
redis.call('ZADD', 'expires', expires_at, record)
remember()
return present or key
