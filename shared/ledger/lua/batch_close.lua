-- CLOSE: a chunk's results lie in S3. What its earlier closing told is replaced, and the ledger
-- forgets it but for the numbers of its failures. → 1 | 0 where it is not open under this opening
local id, chunk, opening, numbers = unpack(ARGV)

if opening_of(id, chunk) ~= tonumber(opening) then return 0 end

local function tell(told, sign)
  redis.call('HINCRBY', batch_key(id), 'completed', sign * told.completed)
  redis.call('HINCRBY', batch_key(id), 'failed', sign * told.failed)
  for code, times in pairs(told.codes) do
    local name = 'code:' .. code
    if redis.call('HINCRBY', batch_key(id), name, sign * times) == 0 then
      redis.call('HDEL', batch_key(id), name)
    end
  end
end

local earlier = redis.call('HGET', failed_key(id), chunk)
if earlier then tell(cjson.decode(earlier), -1) end
local told = cjson.decode(numbers)
tell(told, 1)
if told.failed > 0 then
  redis.call('HSET', failed_key(id), chunk, numbers)
else
  redis.call('HDEL', failed_key(id), chunk)
end
erase_jobs(id, tonumber(opening))
redis.call('HDEL', open_key(id), chunk)
settle(id)
return 1
