-- What the scripts of batches share; put before every script, after common.lua.
--
-- Keys: batch:{id} hash · batch:{id}:open hash (chunk → opening, and the ids of its jobs as JSON once
-- all are submitted) · batch:{id}:jobs:{opening} set (the jobs that were submitted under an opening)
-- · batch:{id}:failed hash (chunk with failures → its numbers, as its latest closing told them) ·
-- batch:{id}:redo zset (chunks to be done again) · batches:{tenant} zset (for listing) ·
-- batches:active zset (those that have not ended) · `batch:{id}` in expires · pace:{signature} hash ·
-- outcomes:{signature} list (what came of the latest such batches, newest first).

local function batch_key(id) return 'batch:' .. id end

local function open_key(id) return 'batch:' .. id .. ':open' end

local function failed_key(id) return 'batch:' .. id .. ':failed' end

local function redo_key(id) return 'batch:' .. id .. ':redo' end

local function batch_get(id, ...)
  return unpack(redis.call('HMGET', batch_key(id), ...))
end

local BATCH_ENDS = {completed = true, failed = true, cancelled = true, expired = true}

local function batch_files(id) return cjson.decode(batch_get(id, 'files')) end

local function set_batch_status(id, status)
  local tenant, seq, retention = batch_get(id, 'tenant', 'seq', 'retention_ms')
  redis.call('HSET', batch_key(id), 'status', status)
  redis.call('HDEL', batch_key(id), 'paused_at', 'paused_by')
  if status == 'in_progress' then
    redis.call('HSETNX', batch_key(id), 'in_progress_at', now)
  elseif status ~= 'validating' then
    redis.call('HSET', batch_key(id), status .. '_at', now)
  end
  if BATCH_ENDS[status] then
    redis.call('HSET', batch_key(id), 'expires_at', now + retention)
    redis.call('ZADD', 'expires', now + retention, batch_key(id))
    redis.call('ZREM', 'batches:active', id)
    let_files_go(batch_files(id), id)
  else
    redis.call('ZREM', 'expires', batch_key(id))
    redis.call('ZADD', 'batches:active', seq, id)
    hold_files(batch_files(id), id)
  end
end

-- The number of the chunk's opening, nil where it is not open.
local function opening_of(id, chunk)
  local entry = redis.call('HGET', open_key(id), chunk)
  return entry and tonumber(string.match(entry, '^%d+'))
end

-- Whether chunks wait to be opened.
local function chunks_left(id)
  local chunks, following = batch_get(id, 'chunks', 'next_chunk')
  return redis.call('EXISTS', redo_key(id)) == 1
    or (chunks and tonumber(following) < tonumber(chunks))
end

-- Once no chunk is open, and none is to be opened, the batch is on its last stretch.
local function settle(id)
  if redis.call('EXISTS', open_key(id)) == 1 then return end
  local status = batch_get(id, 'status')
  local opens = status == 'in_progress' or status == 'paused'
  if status == 'cancelling' or (opens and not chunks_left(id)) then
    set_batch_status(id, 'finalizing')
  end
end

-- Erase the jobs of an opening, at work or not; who holds one learns that its lease is lost.
local function erase_jobs(id, opening)
  for _, job in ipairs(redis.call('SMEMBERS', chunk_set(id, opening))) do
    if get(job, 'phase') == 'ended' then
      erase(job)
    else
      redis.call('HSET', job_key(job), 'erase', 1)
      finish(job, 'canceled', nil)
    end
  end
end

local function erase_batch(id)
  for _, chunk in ipairs(redis.call('HKEYS', open_key(id))) do
    erase_jobs(id, opening_of(id, chunk))
  end
  redis.call('ZREM', 'batches:' .. batch_get(id, 'tenant'), id)
  redis.call('ZREM', 'batches:active', id)
  redis.call('ZREM', 'expires', batch_key(id))
  forget_request(batch_key(id), id)
  let_files_go(batch_files(id), id)
  redis.call('DEL', batch_key(id), open_key(id), failed_key(id), redo_key(id))
  redis.call('ZADD', 'garbage', now, 'batches/' .. id .. '/')
end
