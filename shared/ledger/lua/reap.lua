-- REAP: deal with what is overdue, at most `limit` jobs a call.
-- A published step is published again only when its message must be lost: its queue in the
-- broker is empty (`idle` lists such queues), or a message published later was claimed already:
-- later by `grace`, since publishers overtake one another, and workers claim in any order what
-- they have taken.
-- → {{job id, step, queues as JSON}, …}: to be published again
local limit, grace, max_attempts = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local idle = {}
for i = 4, #ARGV do idle[ARGV[i]] = true end

local again = {}

local function lease_expired(id, step)
  count('lease_expired')
  if redis.call('HGET', job_key(id), 'cancel') then return finish(id, 'canceled', nil) end
  if overdue(id) then return end
  if tonumber(redis.call('HGET', job_key(id), 'attempt')) >= max_attempts then
    return fail(id, 'poison', 'every worker that took this step was lost')
  end
  enqueue(id, step)
end

local function message_lost(id, step, published_at)
  local queue = queue_of(id, step)
  local claimed = tonumber(redis.call('GET', 'claimed:' .. queue) or '0')
  return idle[queue] or claimed > published_at + grace
end

for _, id in ipairs(redis.call('ZRANGE', 'due', '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
  local phase, step, queues, published_at, first, lease =
    get(id, 'phase', 'step', 'queues', 'published_at', 'first_published_at', 'lease_until')
  step = tonumber(step)
  if phase == 'leased' then
    -- A live lease is left to its worker, which learns of a passed deadline at its next renewal.
    if now >= tonumber(lease) then
      lease_expired(id, step)
    else
      redis.call('ZADD', 'due', lease, id)
    end
  elseif not phase or phase == 'ended' then
    redis.call('ZREM', 'due', id)
  elseif overdue(id) then
    count('overdue')
  elseif phase == 'delayed' then
    enqueue(id, step)
  elseif phase == 'published' then
    if message_lost(id, step, tonumber(published_at)) then
      mark_published(id, step, grace, first)
      table.insert(again, {id, step, queues})
      count('republished')
    else
      set_due(id, now + grace)
    end
  else
    set_due(id, now + WAITING_RECHECK)
  end
end
return again
