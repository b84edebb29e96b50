-- DELETE_FILE: forget an upload; its object is erased once no unfinished job or batch needs it.
-- → 'ok' | 'gone'
local id, tenant = ARGV[1], ARGV[2]

local owner, deleted = unpack(redis.call('HMGET', 'file:' .. id, 'tenant', 'deleted'))
if owner ~= tenant or deleted then return 'gone' end
forget_file(id)
return 'ok'
