"""The scripts that store a service's open breakers in Redis."""

from clients.state.scripts import Script

_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

CHANGE = Script(
    _NOW
    + """
for i = 2, #KEYS do
  local at = 3 * i - 1
  local breaker, left, token = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  if token ~= '' and redis.call('GET', KEYS[i]) == token then redis.call('DEL', KEYS[i]) end
  if left >= 0 then redis.call('ZADD', KEYS[1], now + left, breaker) end
  if left == -1 then redis.call('ZREM', KEYS[1], breaker) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[2] - 1)
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then redis.call('PEXPIRE', KEYS[1], math.floor(last[2] - now + ARGV[1])) end
if ARGV[4] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
"""
)
"""Stores changes, and publishes the message ``ARGV[4]``. ``KEYS[1]`` has the open breakers.

Each further key is the trial call of a breaker. Three arguments belong to each breaker: its name, its milliseconds, and
the token of this process's trial call, if the trial call has ended.
"""

TRY = Script(
    _NOW
    + """
local open = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or now) - now
if open > tonumber(ARGV[2]) and open <= tonumber(ARGV[6]) then return open end
local holder = redis.call('GET', KEYS[2])
if holder and string.sub(holder, 1, #ARGV[3]) ~= ARGV[3] then return -1 end
redis.call('SET', KEYS[2], ARGV[3] .. ARGV[4], 'PX', ARGV[5])
return 0
"""
)
"""Begins a trial call, and returns 0.

If the breaker is open, the script returns the milliseconds. If another replica makes a trial call, it returns -1. More
milliseconds than ``ARGV[6]`` do not count, because they come from a server whose clock was ahead.
"""

READ = Script(
    _NOW
    + """
local found = redis.call('ZRANGE', KEYS[1], now - ARGV[1], '+inf', 'BYSCORE', 'WITHSCORES')
for i = 2, #found, 2 do found[i] = found[i] - now end
return found
"""
)
"""Returns the breakers that are or were open, each with the milliseconds until the breaker admits a trial call."""
