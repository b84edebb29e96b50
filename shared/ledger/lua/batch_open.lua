-- OPEN: the next chunk to be done, if the batch is in progress and fewer than `window` are open.
-- An opening is a moment, and later than the one before: so none comes twice, even where the ledger
-- was lost and built again. → {chunk, opening} | nil
local id, window = ARGV[1], tonumber(ARGV[2])

local status, following, last = batch_get(id, 'status', 'next_chunk', 'opening')
if status ~= 'in_progress' or redis.call('HLEN', open_key(id)) >= window then return end
if not chunks_left(id) then return end
local chunk = redis.call('ZPOPMIN', redo_key(id))[1]
if not chunk then
  chunk = following
  redis.call('HINCRBY', batch_key(id), 'next_chunk', 1)
end
local opening = math.max(now, (last or 0) + 1)
redis.call('HSET', batch_key(id), 'opening', opening)
redis.call('HSET', open_key(id), chunk, opening)
return {tonumber(chunk), opening}
