-- SAVED: a manifest with this version was written. Another than the job's own may have come to
-- lie over a newer one, so it counts as a change: nobody who writes at the same time is believed
-- either, and the job is saved once more.
local id, version = ARGV[1], ARGV[2]

local live, erase_flag = get(id, 'version', 'erase')
if not live or erase_flag or live == version then
  redis.call('ZREM', 'unsaved', id)
else
  redis.call('HINCRBY', job_key(id), 'version', 1)
  redis.call('ZADD', 'unsaved', now, id)
end
