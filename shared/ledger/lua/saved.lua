-- SAVED: a manifest with this version was written. Another than the job's own may have come to
-- lie over a newer one, so it counts as a change: nobody who writes at the same time is believed
-- either, and the job is saved once more.
-- Of a job that was erased meanwhile the manifest must go too, or a rebuild would bring it back.
-- That it was erased, and not lost by the ledger, shows by `created_at` (0: no manifest written).
local id, version, created_at = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function known_then()
  local since = tonumber(redis.call('GET', 'knows_since') or 'inf')
  return since <= created_at
end

local live, erase_flag = get(id, 'version', 'erase')
if not live or erase_flag or live == version then
  redis.call('ZREM', 'unsaved', id)
  if not live and created_at > 0 and known_then() then
    redis.call('ZADD', 'garbage', now, job_prefix(id))
  end
else
  redis.call('HINCRBY', job_key(id), 'version', 1)
  redis.call('ZADD', 'unsaved', now, id)
end
