-- EXPIRE: erase ended jobs and batches and forget files that were kept for as long as was promised, at most
-- `limit` a call. → how many
local limit = tonumber(ARGV[1])

local due = redis.call('ZRANGE', 'expires', '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
for _, key in ipairs(due) do
  local what, id = string.match(key, '^(%a+):(.*)$')
  if redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', 'expires', key)
  elseif what == 'job' then
    erase(id)
  elseif what == 'batch' then
    erase_batch(id)
  else
    forget_file(id)
  end
end
return #due
