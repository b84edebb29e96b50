-- KNOWS_SINCE. → milliseconds
remember()
return tonumber(redis.call('GET', 'knows_since'))
