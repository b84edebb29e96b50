-- PUT_FILE: record an upload, or find the one that is there already and extend its life.
-- → the key that holds the bytes
local id, tenant, purpose, key, size, sha256, media_type, width, height, retention_ms = unpack(ARGV)

local record = 'file:' .. id
local present = redis.call('HGET', record, 'key')
if present then
  redis.call('HDEL', record, 'deleted')
else
  redis.call('HSET', record, 'id', id, 'tenant', tenant, 'purpose', purpose, 'key', key,
    'bytes', size, 'sha256', sha256, 'media_type', media_type, 'width', width, 'height', height,
    'created_at', now)
end
redis.call('HSET', record, 'expires_at', now + retention_ms)
return present or key
