"""The Lua scripts of the streams' store. Each script can be repeated after a lost answer.

The first two keys of most scripts are a stream's record and log. The server's clock decides.
``tests/support/memory_logs.py`` has the same operations in Python.
"""

from clients.state.scripts import Script
from clients.state.streams.backend import ENTRY_BYTES, LINGER_SECONDS, QUOTA_STEP, RECORD_BYTES
from clients.state.streams.records import AppendStatus

_COMMON = f"""
local RECORD_BYTES, ENTRY_BYTES, QUOTA_STEP = {RECORD_BYTES}, {ENTRY_BYTES}, {QUOTA_STEP}
local LINGER = {int(LINGER_SECONDS * 1000)}
local record, log = KEYS[1], KEYS[2]

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Tokens are times, so that a token is also larger than tokens that the store has lost.
local function token_after(earlier)
  return math.max(now(), (tonumber(earlier) or 0) + 1)
end

-- An ended log has one more entry, which tells followers the outcome.
local function length(key, state)
  local count = redis.call('XLEN', key)
  return (state == 'running' or count == 0) and count or count - 1
end

local function described(record_key, log_key)
  local fields = redis.call('HGETALL', record_key)
  if #fields == 0 then return false end
  return {{fields, length(log_key, redis.call('HGET', record_key, 'state'))}}
end

local function prefix(key)
  return string.match(key, '^(.*:)')
end

-- Evict the owner's ended streams, oldest first, until more bytes fit, and until there are at most `most` streams.
local function make_room(index, records, logs, more, quota, most)
  local bytes, running, count, ended = 0, 0, 0, {{}}
  for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    local found = redis.call('HMGET', records .. id, 'state', 'bytes')
    if found[1] then
      local size = tonumber(found[2]) or 0
      count, bytes = count + 1, bytes + size
      if found[1] == 'running' then running = running + 1 end
      if found[1] == 'ended' then ended[#ended + 1] = {{id, size}} end
    else
      redis.call('ZREM', index, id)
    end
  end
  for _, one in ipairs(ended) do
    if bytes + more <= quota and count <= most then break end
    redis.call('UNLINK', logs .. one[1])
    redis.call('HSET', records .. one[1], 'state', 'evicted', 'bytes', 0)
    redis.call('ZREM', index, one[1])
    bytes, count = bytes - one[2], count - 1
  end
  return bytes + more <= quota and count <= most, running
end

local function free(key, id)
  if key ~= '' and redis.call('GET', key) == id then redis.call('DEL', key) end
end
"""

_CREATE = """
local function create(token, started, first, key)
  local new, recipe = ARGV[2], ARGV[3]
  redis.call('HSET', record, 'new', new, 'recipe', recipe, 'holder', ARGV[4], 'token', token, 'state', 'running',
    'cancelled', 0, 'started', started, 'first', first, 'bytes', RECORD_BYTES + #new + #recipe,
    'key', key, 'index', KEYS[3], 'retained', ARGV[5], 'running', ARGV[6], 'retention', ARGV[7], 'quota', ARGV[8])
  redis.call('PEXPIRE', record, ARGV[6])
  redis.call('ZADD', KEYS[3], started, ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
  if key ~= '' then redis.call('SET', key, ARGV[1], 'PX', ARGV[6]) end
end
"""

OPEN = Script(
    _COMMON
    + _CREATE
    + """
local id, key, index = ARGV[1], KEYS[4] or '', KEYS[3]
local holder = redis.call('HGET', record, 'holder')
if holder then return {holder == ARGV[4] and 'opened' or 'taken', described(record, log)} end
local records, logs = prefix(record), prefix(log)
local started = now()
local first = started
if key ~= '' then
  local taken = redis.call('GET', key)
  local began = taken and redis.call('HGET', records .. taken, 'first')
  if began then
    if taken ~= ARGV[10] then return {'taken', described(records .. taken, logs .. taken)} end
    first = began
    started = math.max(started, first + 1)
  end
end
local size = RECORD_BYTES + #ARGV[2] + #ARGV[3]
local fits, running = make_room(index, records, logs, size, tonumber(ARGV[8]), ARGV[11] - 1)
if running >= tonumber(ARGV[9]) then return {'over limit', running} end
if not fits then return {'over quota'} end
create(token_after(), started, first, key)
return {'opened', described(record, log)}
"""
)
"""Create a stream. The arguments are: id, terms, recipe, holder, retained, running, retention, quota, max_running,
replacing, max_listed. The keys are: record, log, index, and the stream's key, if any."""

RESTORE = Script(
    _COMMON
    + _CREATE
    + """
local key, mine = KEYS[4] or '', tonumber(ARGV[9])
local found = redis.call('HMGET', record, 'token', 'holder', 'started', 'first', 'key')
local token = tonumber(found[1])
if token then
  if token == mine or (mine == 0 and found[2] == ARGV[4]) then return described(record, log) end
  if mine == 0 or token > mine then return false end
  key = found[5]
elseif key ~= '' then
  local taken = redis.call('GET', key)
  if taken and taken ~= ARGV[1] and redis.call('EXISTS', prefix(record) .. taken) == 1 then key = '' end
end
redis.call('UNLINK', record, log)
local started = found[3] or now()
create(mine > 0 and mine or token_after(), started, found[4] or started, key)
return described(record, log)
"""
)
"""Create the record of a running stream. The arguments are those of ``OPEN``, with a token or 0 as the ninth."""

APPEND = Script(
    _COMMON
    + """
local STORED, BEHIND, FENCED, MISSING, OVER_QUOTA = 0, 1, 2, 3, 4
local answers, at = {}, 1

local function answer(status, count, cancelled)
  answers[#answers + 1] = status
  answers[#answers + 1] = count
  answers[#answers + 1] = tonumber(cancelled)
end

local function finish(record, log, count, outcome, is_retained)
  local facts = redis.call('HMGET', record, 'retained', 'retention', 'key', 'index')
  local id, life = string.sub(record, #prefix(record) + 1), tonumber(facts[2])
  if facts[1] == '0' or not is_retained then
    life = math.min(life, LINGER)
    free(facts[3], id)
    redis.call('ZREM', facts[4], id)
  elseif facts[3] ~= '' and redis.call('GET', facts[3]) == id then
    redis.call('PEXPIRE', facts[3], life)
  end
  redis.call('HSET', record, 'state', 'ended', 'outcome', outcome, 'expires', now() + life)
  redis.call('XADD', log, string.format('%d-0', count + 1), 'e', outcome)
  redis.call('PEXPIRE', record, life)
  redis.call('PEXPIRE', log, life)
end

local function renew(record, log)
  local facts = redis.call('HMGET', record, 'running', 'key', 'index')
  for _, one in ipairs({record, log, facts[3]}) do redis.call('PEXPIRE', one, facts[1]) end
  if facts[2] ~= '' and redis.call('GET', facts[2]) == string.sub(record, #prefix(record) + 1) then
    redis.call('PEXPIRE', facts[2], facts[1])
  end
end

local function append(record, log)
  local mine, after, values, flags = string.match(ARGV[at], '^(%d+) (%d+) (%d+)(%a*)$')
  local start, last, recipe, outcome = at + 1, at + values, nil, nil
  mine, after, at = tonumber(mine), tonumber(after), last + 1
  local found = redis.call('HMGET', record, 'token', 'state', 'cancelled', 'bytes')
  local token, state, cancelled = tonumber(found[1]), found[2], found[3]
  if not token then return answer(MISSING, 0, 0) end
  local count = length(log, state)
  if token ~= mine then return answer(token > mine and FENCED or MISSING, count, cancelled) end
  if string.find(flags, 'r') then recipe, last = ARGV[last], last - 1 end
  if string.find(flags, 'o') then outcome, last = ARGV[last], last - 1 end
  -- the entries of an evicted stream are not wanted
  if state == 'evicted' then return answer(STORED, after + last - start + 1, cancelled) end
  if state ~= 'running' then return answer(STORED, count, cancelled) end
  if count < after then return answer(BEHIND, count, cancelled) end
  local size, first = recipe and #recipe or 0, start + count - after
  for i = first, last do size = size + #ARGV[i] + ENTRY_BYTES end
  local bytes = tonumber(found[4])
  if not outcome and math.floor((bytes + size) / QUOTA_STEP) > math.floor(bytes / QUOTA_STEP) then
    local facts = redis.call('HMGET', record, 'index', 'quota')
    if not make_room(facts[1], prefix(record), prefix(log), size, tonumber(facts[2]), math.huge) then
      return answer(OVER_QUOTA, count, cancelled)
    end
  end
  for i = first, last do
    local added = redis.pcall('XADD', log, string.format('%d-0', after + 1 + i - start), 'd', ARGV[i])
    if type(added) == 'table' and added.err then
      if not string.find(added.err, 'equal or smaller') then return added end
      redis.call('UNLINK', log)  -- entries are missing in the middle, so the holder stores all entries again
      return answer(BEHIND, 0, cancelled)
    end
  end
  if recipe then
    redis.call('HSET', record, 'bytes', bytes + size, 'recipe', recipe)
  elseif size > 0 then
    redis.call('HSET', record, 'bytes', bytes + size)
  end
  local stored = math.max(count, after + last - start + 1)
  if outcome then
    finish(record, log, stored, outcome, not string.find(flags, 'n'))
  else
    if count == 0 and stored > 0 then redis.call('PEXPIRE', log, redis.call('PTTL', record)) end
    if string.find(flags, 't') then renew(record, log) end
  end
  return answer(STORED, stored, cancelled)
end

for i = 1, #KEYS, 2 do
  local failed = append(KEYS[i], KEYS[i + 1])
  if failed then return failed end
end
return answers
"""
)
"""Append to several streams. The keys are each stream's record and log.

The arguments for each stream are a header and the values: entries, outcome and recipe. The header has the token, the
position, the number of values, and flags: ``o`` and ``r`` if there is an outcome or a recipe, ``n`` if the ended stream
is not retained, and ``t`` to postpone the expiry. The answer has three integers for each stream: the status, the number
of entries in the store, and whether the stream is cancelled.
"""

STATUSES = (
    AppendStatus.STORED,
    AppendStatus.BEHIND,
    AppendStatus.FENCED,
    AppendStatus.MISSING,
    AppendStatus.OVER_QUOTA,
)
"""The statuses that ``APPEND`` returns as numbers."""

DESCRIBE = Script(_COMMON + "return described(record, log)")
"""Return a stream."""

AT_KEY = Script(
    _COMMON
    + """
local id = redis.call('GET', KEYS[1])
return id and described(ARGV[1] .. id, ARGV[2] .. id)
"""
)
"""Return a key's stream. The key is the stream's key. The arguments are the prefixes of records and logs."""

LIST = Script(
    _COMMON
    + """
local streams = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  streams[#streams + 1] = described(ARGV[1] .. id, ARGV[2] .. id) or nil
end
return streams
"""
)
"""Return an owner's streams. The key is the index. The arguments are the prefixes of records and logs."""

REMOVE = Script(
    _COMMON
    + """
local found = redis.call('HMGET', record, 'token', 'key', 'index')
if tonumber(found[1]) ~= tonumber(ARGV[1]) then return end
local id = string.sub(record, #prefix(record) + 1)
free(found[2], id)
redis.call('ZREM', found[3], id)
redis.call('UNLINK', record, log, KEYS[3])
"""
)
"""Remove a stream. The keys are: record, log, readers. The argument is the token."""

READERS = Script(
    _COMMON
    + """
local readers, holder = KEYS[3], redis.call('HGET', record, 'holder')
if not holder then return false end
if ARGV[1] == 'attend' then
  redis.call('SADD', readers, ARGV[2])
  redis.call('PEXPIRE', readers, redis.call('PTTL', record))
elseif ARGV[1] == 'leave' then
  redis.call('SREM', readers, ARGV[2])
end
return {holder, redis.call('SMEMBERS', readers)}
"""
)
"""Register a replica's readers, or return the replicas with readers. The keys are: record, log, readers."""

CANCEL = Script(
    _COMMON
    + """
if redis.call('HGET', record, 'state') == 'running' then redis.call('HSET', record, 'cancelled', 1) end
return described(record, log)
"""
)
"""Mark a running stream as cancelled."""

TAKE_OVER = Script(
    _COMMON
    + """
local found = redis.call('HMGET', record, 'token', 'state', 'holder', 'previous')
if found[2] ~= 'running' then return false end
if found[1] == ARGV[1] then
  redis.call('HSET', record, 'holder', ARGV[2], 'token', token_after(found[1]), 'previous', ARGV[1])
elseif found[3] ~= ARGV[2] or found[4] ~= ARGV[1] then
  return false
end
return described(record, log)
"""
)
"""Change a stream's holder. The arguments are: expected token, new holder."""

BEAT = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not before and ARGV[4] == '1' then redis.call('SET', KEYS[3], '1', 'PX', ARGV[5]) end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {now, before, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf'),
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now), redis.call('SCARD', KEYS[2]),
  redis.call('EXISTS', KEYS[3])}
"""
)
"""Store a heartbeat. The keys are: replicas, the replica's set of streams, the mark of a loss.

The arguments are: replica, lease, life, ``1`` if the replica has stored a heartbeat before, retention.
"""

BURY = Script(
    """
local time = redis.call('TIME')
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) <= time[1] * 1000 + math.floor(time[2] / 1000) and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
"""
)
"""Remove a dead replica without streams. The keys and the argument are the first ones of ``BEAT``."""
