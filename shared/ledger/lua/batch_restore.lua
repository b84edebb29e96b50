-- BATCH_RESTORE: put a batch back from its manifest, with no chunk open.
-- `failed`: chunk → its numbers. → 1 | 0 where it is there, or its objects are about to be erased
local id, status, redo, failed = ARGV[1], ARGV[2], cjson.decode(ARGV[3]), cjson.decode(ARGV[4])

if redis.call('EXISTS', batch_key(id)) == 1 then return 0 end
if redis.call('ZSCORE', 'garbage', 'batches/' .. id .. '/') then return 0 end

local seq = redis.call('INCR', 'batch_number')
redis.call('HSET', batch_key(id), 'id', id, 'seq', seq, 'status', status, unpack(ARGV, 5))
for _, chunk in ipairs(redo) do redis.call('ZADD', redo_key(id), chunk, chunk) end
for chunk, numbers in pairs(failed) do redis.call('HSET', failed_key(id), chunk, numbers) end
local tenant, key, body_hash, created_at, expires_at =
  batch_get(id, 'tenant', 'idempotency', 'body_hash', 'created_at', 'expires_at')
redis.call('ZADD', 'batches:' .. tenant, seq, id)
if BATCH_ENDS[status] then
  redis.call('ZADD', 'expires', expires_at, batch_key(id))
else
  redis.call('ZADD', 'batches:active', seq, id)
  hold_files(batch_files(id), id)
  settle(id)
end
keep_request(tenant, key, body_hash, id, created_at)
remember()
return 1
