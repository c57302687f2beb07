"""Stores the cache's versions and records in Redis, for all replicas.

While Redis is unavailable, each process has its own versions. The process repeats its changes to the versions as soon
as Redis is available again.
"""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b

from clients.state.cache import Claim, MemoryCacheStore, Place, SharedRecord, Tag, Versions
from clients.state.connection import RedisConnection
from clients.state.errors import StateCause, StateUnavailable
from clients.state.link import Reply
from clients.state.names import CACHE_CLAIM, CACHE_RECORDS, CACHE_TAGS
from clients.state.scripts import Script
from clients.state.tags import READ_TAGS, TAGS_MILLISECONDS, versions_of

MAX_RECORD_BYTES = 512 * 1024
"""The maximum size of a record in Redis. Larger records are cached only in the process's memory."""

MAX_USER_BYTES = 4 * 1024 * 1024
"""The maximum size of one user's records in Redis. Above the maximum, all of the user's records are evicted."""

MAX_UNSENT = 10_000
"""The maximum number of users whose changes wait for Redis."""

_STAMP_DIGITS = 13

_VERSIONS = Script(READ_TAGS + "return cache_tags(KEYS[1], ARGV[1], tonumber(ARGV[2]))")

_DROP = Script(
    READ_TAGS
    + """
cache_tags(KEYS[1], ARGV[1], tonumber(ARGV[2]))
for at = 3, #ARGV do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[2]))
"""
)
"""Gives tags the version ``ARGV[1]``, which is random: if Redis loses changes, no later version equals a lost one."""

_NOW = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

_GET = Script(_NOW + "return {redis.call('HGET', KEYS[1], ARGV[1]), now()}")

_CLAIM = Script(
    _NOW
    + """
local granted = redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3])
return {redis.call('HGET', KEYS[1], ARGV[1]), now(), granted and 1 or 0}
"""
)

_RELEASE_CLAIM = """
if redis.call('GET', KEYS[CLAIM]) == ARGV[1] then
  redis.call('DEL', KEYS[CLAIM])
end
"""

_RELEASE = Script(_RELEASE_CLAIM.replace("CLAIM", "1"))

_PUT = Script(
    _NOW
    + """
local version = redis.call('HGET', KEYS[1], 'epoch')
if version then
  for at = 8, #ARGV do
    version = version .. '.' .. (redis.call('HGET', KEYS[1], ARGV[at]) or '0')
  end
end
if version == ARGV[3] then
  local value = string.format('%013.0f', now() - ARGV[5]) .. version .. '\\n' .. ARGV[4]
  local before = redis.call('HSTRLEN', KEYS[2], ARGV[2])
  local size = (redis.call('HGET', KEYS[2], '#') or 0) + #value - before
  if size > tonumber(ARGV[7]) then
    redis.call('UNLINK', KEYS[2])
    size = #value
  end
  redis.call('HSET', KEYS[2], ARGV[2], value, '#', size)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
"""
    + _RELEASE_CLAIM.replace("CLAIM", "3")
)
"""Stores a record, unless the versions have changed. The field ``#`` is the size of the user's records in bytes."""


@dataclass(frozen=True, eq=False, slots=True)
class _Change:
    """A change of a user's versions. Two changes of the same tags are different changes."""

    tags: frozenset[Tag]


_NO_CHANGE = _Change(frozenset())


class RedisCacheStore:
    """Stores versions and records in Redis. If Redis is unavailable, the process uses its own versions."""

    has_records = True

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._own = MemoryCacheStore()
        self._unsent: dict[str, _Change] = {}
        self._sending: asyncio.Task[None] | None = None
        connection.on_change(self._changed)

    def is_behind(self, owner: str) -> bool:
        """Return whether Redis has not received a change of the user's versions."""
        return owner in self._unsent

    async def versions(self, owner: str) -> Versions:
        """Return the versions of a user's tags."""
        try:
            if (unsent := self._unsent.get(owner)) is not None:
                await self._send(owner, unsent)
            reply = await self._connection.script(
                _VERSIONS, [CACHE_TAGS.key(owner)], [uuid.uuid4().hex, TAGS_MILLISECONDS]
            )
        except StateUnavailable:
            own = await self._own.versions(owner)
            return Versions(own.epoch, own.of_tags, is_shared=False)
        return versions_of(reply)

    async def drop(self, owner: str, tags: Iterable[Tag]) -> None:
        """Change the versions of a user's tags. If Redis is unavailable, the change is repeated later."""
        earlier = self._unsent.pop(owner, _NO_CHANGE)
        change = self._unsent[owner] = _Change(earlier.tags.union(tags))
        await self._own.drop(owner, change.tags)
        if len(self._unsent) > MAX_UNSENT:
            del self._unsent[next(iter(self._unsent))]
        with suppress(StateUnavailable):
            await self._send(owner, change)

    async def get(self, place: Place) -> SharedRecord | None:
        """Return the record, if there is one with the place's version."""
        try:
            reply = await self._connection.script(_GET, [CACHE_RECORDS.key(place.owner)], [place.name])
        except StateUnavailable:
            return None
        return _record(place, reply)

    async def claim(self, place: Place, token: str) -> Claim:
        """Ask to load a record, as the only replica. If Redis is unavailable, the claim is granted."""
        keys = [CACHE_RECORDS.key(place.owner), _claim_key(place)]
        try:
            reply = await self._connection.script(_CLAIM, keys, [place.name, token, CACHE_CLAIM.milliseconds])
        except StateUnavailable:
            return Claim(is_granted=True)
        return Claim(isinstance(reply, list) and reply[2] == 1, _record(place, reply))

    async def put(self, place: Place, value: bytes, age: float, token: str) -> None:
        """Store a record, unless it is too large or the versions have changed. End the claim of ``token``."""
        if len(value) > MAX_RECORD_BYTES:
            await self.release(place, token)
            return
        keys = [CACHE_TAGS.key(place.owner), CACHE_RECORDS.key(place.owner), _claim_key(place)]
        limits = [round(age * 1000), CACHE_RECORDS.milliseconds, MAX_USER_BYTES]
        await self._try(_PUT, keys, [token, place.name, place.version, value, *limits, *place.tags])

    async def release(self, place: Place, token: str) -> None:
        """End the claim of ``token`` after a failed load."""
        await self._try(_RELEASE, [_claim_key(place)], [token])

    async def aclose(self) -> None:
        """Stop repeating changes."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send(self, owner: str, change: _Change) -> None:
        key = CACHE_TAGS.key(owner)
        try:
            await self._connection.script(_DROP, [key], [uuid.uuid4().hex, TAGS_MILLISECONDS, *sorted(change.tags)])
        except StateUnavailable as error:
            if error.cause is not StateCause.FULL:
                raise
            await self._connection.command("DEL", key)  # needs no memory; the next versions have a new epoch
        if self._unsent.get(owner) is change:
            del self._unsent[owner]

    def _changed(self, is_up: bool) -> None:
        if not is_up:
            self._own = MemoryCacheStore()  # records of an earlier failure are too old
        elif self._unsent and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        for owner, change in list(self._unsent.items()):
            with suppress(StateUnavailable):  # the connection reports when Redis is available again
                await self._send(owner, change)

    async def _try(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> None:
        with suppress(StateUnavailable):
            await self._connection.script(script, keys, arguments)


def _claim_key(place: Place) -> str:
    digest = blake2b(f"{place.name}\n{place.version}".encode(), digest_size=12).hexdigest()
    return CACHE_CLAIM.key(place.owner, digest)


def _record(place: Place, reply: Reply) -> SharedRecord | None:
    """Return the record in the reply of a script, if it is readable and has the place's version."""
    if not isinstance(reply, list) or not isinstance(reply[0], bytes) or not isinstance(reply[1], int):
        return None
    stored, now = reply[0], reply[1]
    stamp, rest = stored[:_STAMP_DIGITS], stored[_STAMP_DIGITS:]
    version, _, value = rest.partition(b"\n")
    if version != place.version.encode() or not stamp.isdigit():
        return None
    age = (now - int(stamp)) / 1000  # negative after a failover to a server whose clock is behind
    return SharedRecord(value, age) if age >= 0 else None
