-- DELETE_FILE: forget an upload; its object is erased once no unfinished job needs it.
-- → 'ok' | 'gone'
local id, tenant = ARGV[1], ARGV[2]

local record = 'file:' .. id
local owner, deleted, key = unpack(redis.call('HMGET', record, 'tenant', 'deleted', 'key'))
if owner ~= tenant or deleted then return 'gone' end
if redis.call('SCARD', record .. ':jobs') > 0 then
  redis.call('HSET', record, 'deleted', 1)
else
  redis.call('DEL', record)
  redis.call('ZADD', 'garbage', now, key)
end
return 'ok'
