"""Idempotency keys that replicas share in Redis.

A key has one record: in flight, then done or unknown. The replica that runs the action holds a lease and renews it. If
the replica crashes, the lease expires, and the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, NewType

import msgspec

from clients.state.errors import StateUnavailable
from clients.state.names import KEY_ANSWERS, KEYS
from clients.state.scripts import Script

if TYPE_CHECKING:  # redis-py is imported only if it is used
    from clients.state.connection import RedisConnection

LEASE_MILLISECONDS = 5_000
"""How long another replica waits for a replica that does not renew its lease, in milliseconds."""

_RENEWALS = 5
"""How often a replica renews a lease before the lease would expire."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The maximum size of an answer in Redis, in bytes. Only the replica that ran the action can repeat a larger answer."""

OWNER_BYTES = 16 * 1024 * 1024
"""One owner's quota for answers in Redis, in bytes. Over the quota, the owner's oldest answers are evicted."""

Token = NewType("Token", str)
"""Identifies one attempt to claim a key."""


class Claimed(msgspec.Struct, frozen=True):
    """The caller runs the action, and must call ``finish``, ``give_up`` or ``free``.

    ``began`` is the time of the first attempt, in milliseconds since 1970. ``settled_in`` is the time after which a
    search for an earlier attempt is final, in seconds; ``None`` if there was no earlier attempt.
    """

    token: Token
    began: int
    settled_in: float | None


def new_token() -> Token:
    """Return a token for an attempt to claim a key."""
    return Token(uuid.uuid4().hex)


def unconfirmed(token: Token) -> Claimed:
    """Return the claim of a replica that runs the action although Redis has not confirmed the claim."""
    return Claimed(token, int(time.time() * 1000), None)


class InFlight(msgspec.Struct, frozen=True):
    """Another replica runs the action."""


class Done(msgspec.Struct, frozen=True):
    """The action has an answer. ``answer`` is ``None`` if the answer was evicted."""

    answer: bytes | None


class Unknown(msgspec.Struct, frozen=True):
    """An earlier attempt's outcome is unknown, and the caller cannot search for the result."""


class Reused(msgspec.Struct, frozen=True):
    """The key was used with different input."""


Claim = Claimed | InFlight | Done | Unknown | Reused

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_CLAIM = Script(
    _NOW
    + """
local print, token, searches, once, lease, settle, life = unpack(ARGV)
local h = redis.call('HMGET', KEYS[1], 'state', 'print', 'began', 'lease', 'settled', 'once', 'token')
local state = h[1]
if state and h[2] ~= print then return {'reused'} end
if state == 'flight' and h[7] == token then
  return {'claimed', tonumber(h[3]), h[5] ~= '0' and tonumber(h[5]) - now or false}
end
if state == 'done' then
  local answer = redis.call('HGET', KEYS[1], 'answer')
  if answer then return {'done', answer} end
  if h[6] == '1' then return {'dropped'} end
end
local began, settled = now, nil
if state == 'flight' then
  if tonumber(h[4]) > now then return {'flight'} end
  if h[6] == '1' then
    state, h[5] = 'unknown', h[4] + settle
    redis.call('HSET', KEYS[1], 'state', 'unknown', 'settled', h[5])
    redis.call('PEXPIRE', KEYS[1], life)
  end
end
if state == 'unknown' then
  if searches ~= '1' then return {'unknown'} end
  began, settled = h[3], tonumber(h[5])
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'flight', 'print', print, 'token', token, 'began', began,
  'lease', now + lease, 'settled', settled or 0, 'once', once)
redis.call('PEXPIRE', KEYS[1], life + lease)
return {'claimed', tonumber(began), settled and settled - now or false}
"""
)

_RENEW = Script(
    _NOW
    + """
local h = redis.call('HMGET', KEYS[1], 'state', 'token')
if h[1] ~= 'flight' or h[2] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'lease', now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3] + ARGV[2])
return 1
"""
)

_FINISH = Script(
    _NOW
    + """
local token, print, once, began, answer, has_answer, life, quota = unpack(ARGV)
local held = redis.call('HGET', KEYS[1], 'token')
if held and held ~= token then return 0 end
local is_stored = has_answer == '1' and type(redis.pcall('HSET', KEYS[1], 'answer', answer)) == 'number'
if is_stored then redis.call('HDEL', KEYS[1], 'lease', 'settled') else redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'state', 'done', 'print', print, 'token', token, 'began', began, 'once', once)
redis.call('PEXPIRE', KEYS[1], life)
if not is_stored then return 1 end
if redis.call('EXISTS', KEYS[2], KEYS[3]) == 1 then redis.call('DEL', KEYS[2], KEYS[3]) end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('HINCRBY', KEYS[3], 'bytes', -tonumber(string.match(gone, '^%d+')))
end
local added = redis.call('ZADD', KEYS[2], now + life, #answer .. ' ' .. KEYS[1])
local bytes = redis.call('HINCRBY', KEYS[3], 'bytes', added * #answer)
while bytes > tonumber(quota) do
  local oldest = redis.call('ZPOPMIN', KEYS[2])[1]
  if not oldest then break end
  local size, key = string.match(oldest, '^(%d+) (.*)$')
  redis.call('HDEL', key, 'answer')
  bytes = redis.call('HINCRBY', KEYS[3], 'bytes', -tonumber(size))
end
redis.call('PEXPIRE', KEYS[2], life)
redis.call('PEXPIRE', KEYS[3], life)
return 1
"""
)
"""Stores an outcome. If Redis has no memory left, the script does not store the answer.

Redis refuses only a script's first write for lack of memory. So the answer is the first write.
"""

_GIVE_UP = Script(
    _NOW
    + """
local token, print, began, settle, life = unpack(ARGV)
local held = redis.call('HGET', KEYS[1], 'token')
if held and held ~= token then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'unknown', 'print', print, 'token', token, 'began', began,
  'settled', now + settle, 'once', '1')
redis.call('PEXPIRE', KEYS[1], life)
return 1
"""
)

_FREE = Script(
    """
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
)


class SharedKeys:
    """The idempotency keys of all replicas. Each method raises StateUnavailable.

    Args:
        connection: the connection to Redis.
        retention: how long a record stays after the action, in seconds.
        settle: how long the request of a crashed replica may still reach a service, in seconds.
        quota: one owner's quota for answers, in bytes.
        lease: how long a replica holds a key without renewing its lease, in milliseconds.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        retention: float,
        settle: float,
        quota: int = OWNER_BYTES,
        lease: int = LEASE_MILLISECONDS,
    ) -> None:
        self.connection = connection
        self._life = int(retention * 1000)
        self._settle = int(settle * 1000)
        self._quota = quota
        self._lease = lease
        self._held: dict[str, Token] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def claim(
        self, owner: str, key: str, token: Token, input_print: str, *, searches: bool, only_once: bool
    ) -> Claim:
        """Claim a key, or return why the action must not run.

        Args:
            owner: the user's id.
            key: the mutation and the key.
            token: identifies this attempt.
            input_print: the fingerprint of the input.
            searches: whether the caller can search for an earlier attempt's result.
            only_once: whether the action must not run again if its outcome is unknown.
        """
        name = _name(owner, key)
        self._hold(name, token)
        arguments = (input_print, token, int(searches), int(only_once), self._lease, self._settle, self._life)
        kind, *rest = await self.connection.script(_CLAIM, [name], arguments)
        if kind != b"claimed":
            self._release(name, token)
        match kind:
            case b"claimed":
                began, settled = rest
                return Claimed(token, int(began), None if settled is None else int(settled) / 1000)
            case b"flight":
                return InFlight()
            case b"done":
                return Done(bytes(rest[0]))
            case b"dropped":
                return Done(None)
            case b"unknown":
                return Unknown()
            case _:
                return Reused()

    async def knows(self, owner: str, key: str) -> bool:
        """Return whether the key has a record."""
        return bool(await self.connection.command("EXISTS", _name(owner, key)))

    async def finish(
        self, owner: str, key: str, claimed: Claimed, input_print: str, answer: bytes | None, *, only_once: bool
    ) -> None:
        """Store the action's answer. Without an answer, or with a larger answer, the key stays in use.

        The maximum is ``MAX_ANSWER_BYTES``.
        """
        name, stored = _name(owner, key), None if answer is None or len(answer) > MAX_ANSWER_BYTES else answer
        arguments = (
            claimed.token,
            input_print,
            int(only_once),
            claimed.began,
            stored or b"",
            int(stored is not None),
            self._life,
            self._quota,
        )
        keys = [name, KEY_ANSWERS.key(owner, "sizes"), KEY_ANSWERS.key(owner, "bytes")]
        await self._leave(_FINISH, keys, arguments, claimed.token)

    async def give_up(self, owner: str, key: str, claimed: Claimed, input_print: str, settled_in: float) -> None:
        """Record that the outcome is unknown. A search for the result is final after ``settled_in`` seconds."""
        settle = max(0, int(settled_in * 1000))
        arguments = (claimed.token, input_print, claimed.began, settle, self._life)
        await self._leave(_GIVE_UP, [_name(owner, key)], arguments, claimed.token)

    async def free(self, owner: str, key: str, claimed: Claimed) -> None:
        """Remove the record, because the action is known to have failed."""
        await self._leave(_FREE, [_name(owner, key)], (claimed.token,), claimed.token)

    async def aclose(self) -> None:
        """Stop renewing leases."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    async def _leave(
        self, script: Script, keys: list[str], arguments: tuple[str | bytes | int, ...], token: Token
    ) -> None:
        try:
            await self.connection.script(script, keys, arguments)
        finally:
            self._release(keys[0], token)

    def _hold(self, name: str, token: Token) -> None:
        self._held[name] = token
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    def _release(self, name: str, token: Token) -> None:
        if self._held.get(name) == token:
            del self._held[name]

    async def _renew(self) -> None:
        """Renew the leases of all actions in flight, until there are none."""
        while self._held:
            await asyncio.sleep(self._lease / 1000 / _RENEWALS)
            held = list(self._held.items())
            await asyncio.gather(*(self._renew_one(name, token) for name, token in held))

    async def _renew_one(self, name: str, token: Token) -> None:
        with suppress(StateUnavailable):
            await self.connection.script(_RENEW, [name], (token, self._lease, self._life))


def _name(owner: str, key: str) -> str:
    return KEYS.key(owner, hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest())
