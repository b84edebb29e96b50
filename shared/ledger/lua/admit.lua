-- ADMIT: move steps from the ledger's queue to the broker's, while the broker holds fewer than
-- `limit` unclaimed messages for this queue and for every later queue of the job.
-- The caller publishes what is returned; if it dies first, REAP finds the step again.
-- → {{job id, step, queues as JSON}, …}
local queue, limit, grace = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local admitted = {}
local function has_room(name)
  return redis.call('ZCARD', 'published:' .. name) < limit
end

if has_room(queue) then
  for _, id in ipairs(redis.call('ZRANGE', 'waiting:' .. queue, 0, 2 * limit - 1)) do
    if not has_room(queue) then break end
    local step, queues = get(id, 'step', 'queues')
    local names = cjson.decode(queues)
    local open = true
    for i = step + 2, #names do open = open and has_room(names[i]) end
    if open then
      mark_published(id, tonumber(step), grace)
      table.insert(admitted, {id, tonumber(step), queues})
      count('published')
    end
  end
end
return admitted
