-- BATCH_PACE: how long so many items took, in a mean that forgets an eighth with every new word.
local signature, items, ms = unpack(ARGV)

local key = 'pace:' .. signature
local known_items, known_ms = unpack(redis.call('HMGET', key, 'items', 'ms'))
local function mean(known, new) return string.format('%.3f', (known or 0) * 7 / 8 + new) end
redis.call('HSET', key, 'items', mean(known_items, items), 'ms', mean(known_ms, ms))
redis.call('EXPIRE', key, 90 * 86400)
