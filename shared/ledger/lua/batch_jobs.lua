-- BATCH_JOBS: what an open chunk is made of. → 1 | 0 where it is not open under this opening
local id, chunk, opening, jobs = unpack(ARGV)

if opening_of(id, chunk) ~= tonumber(opening) then return 0 end
redis.call('HSET', open_key(id), chunk, opening .. ' ' .. jobs)
return 1
