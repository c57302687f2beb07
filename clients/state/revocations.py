"""The revoked sign-in sessions of all replicas, in Redis.

A process stores all revocations in memory. A message tells the other replicas of each new revocation. A process reads
all revocations when it connects to the news, when Redis answers again, and when Redis has lost the revocations; it then
also stores the revocations that Redis does not have (decision 0063).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import msgspec

from clients.state.errors import StateUnavailable
from clients.state.names import REVOKED, channel
from clients.state.news import News, Subscriber
from clients.state.scripts import Script

if TYPE_CHECKING:  # redis-py is imported only if it is used
    from clients.state.connection import RedisConnection

CHECK_SECONDS = 1.0
"""The interval at which the gateway checks whether Redis has lost the revocations, in seconds."""

TOPIC = "revoked"

_BATCH = 500
"""The maximum number of sessions in one command."""

_KEY = REVOKED.key("sessions")

_ADD = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_new, longest = false, redis.call('PTTL', KEYS[1])
for i = 4, #ARGV, 2 do
  local left = tonumber(ARGV[i + 1])
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then is_new = true end
  redis.call('ZADD', KEYS[1], 'GT', now + left, ARGV[i])
  longest = math.max(longest, left)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[1] - 1)
redis.call('PEXPIRE', KEYS[1], longest)
if is_new then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
""")
"""Adds sessions, for the milliseconds that follow each session, and publishes the message ``ARGV[3]``."""


class RevokedSessions(Protocol):
    """The revoked sessions in this process's memory."""

    @property
    def is_empty(self) -> bool:
        """Whether no session is stored."""

    def learn(self, revoked: Mapping[str, float]) -> None:
        """Store sessions that replicas have revoked, for the given numbers of seconds."""

    def revoked(self) -> dict[str, float]:
        """Return all revoked sessions, and the seconds for which they are still stored."""


class RedisRevocations:
    """Shares revocations with the other replicas.

    Args:
        sessions: the sessions in this process's memory.
        limit: the maximum number of sessions in Redis. The sessions that expire first are removed.
    """

    def __init__(self, redis: RedisConnection, news: News, sessions: RevokedSessions, limit: int) -> None:
        self._redis = redis
        self._sessions = sessions
        self._limit = limit
        self._channel = channel(redis.database, TOPIC)
        self._is_outdated = True
        self._wake = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        news.subscribe(TOPIC, Subscriber(self._hear, self._outdated))
        redis.on_change(lambda _: self._outdated())

    async def open(self) -> None:
        """Read the revocations, if Redis answers. Share revocations until ``aclose``."""
        await self._sync_if_outdated()
        self._following = asyncio.create_task(self._follow())

    async def aclose(self) -> None:
        """Stop sharing revocations."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def add(self, revoked: Mapping[str, float]) -> None:
        """Share sessions that this process has revoked, and the seconds for which they are stored.

        If Redis fails, the sessions are shared when Redis answers again.
        """
        try:
            await self._add(revoked)
        except StateUnavailable:
            self._is_outdated = True

    def _outdated(self) -> None:
        self._is_outdated = True
        self._wake.set()

    def _hear(self, message: bytes) -> None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            left = msgspec.json.decode(message, type=dict[str, int])
            self._sessions.learn({session_id: milliseconds / 1000 for session_id, milliseconds in left.items()})

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):  # in Python 3.11, ``wait_for`` can swallow a cancellation
                    await self._wake.wait()
            self._wake.clear()
            if self._redis.is_up:
                await self._sync_if_outdated()

    async def _sync_if_outdated(self) -> None:
        try:
            if self._is_outdated or await self._is_lost():
                self._is_outdated = False
                await self._sync()
        except StateUnavailable:
            self._is_outdated = True

    async def _is_lost(self) -> bool:
        return not self._sessions.is_empty and not await self._redis.command("EXISTS", _KEY)

    async def _sync(self) -> None:
        """Read all revocations, and store those that Redis does not have."""
        seconds, microseconds = await self._redis.command("TIME")
        now = int(seconds) * 1000 + int(microseconds) // 1000
        stored: set[str] = set()
        cursor = b"0"
        while True:
            cursor, found = await self._redis.command("ZSCAN", _KEY, cursor, "COUNT", _BATCH)
            expiries = zip(found[::2], found[1::2], strict=True)
            left = {session_id.decode(): (float(expires) - now) / 1000 for session_id, expires in expiries}
            stored.update(left)
            self._sessions.learn({session_id: one for session_id, one in left.items() if one > 0})
            if cursor == b"0":
                break
        revoked = self._sessions.revoked().items()
        await self._add({session_id: one for session_id, one in revoked if session_id not in stored})

    async def _add(self, revoked: Mapping[str, float]) -> None:
        left = [(session_id, math.ceil(seconds * 1000)) for session_id, seconds in revoked.items()]
        for begin in range(0, len(left), _BATCH):
            batch = left[begin : begin + _BATCH]
            message = msgspec.json.encode(dict(batch))
            pairs = [part for pair in batch for part in pair]
            await self._redis.script(_ADD, [_KEY], [self._limit, self._channel, message, *pairs])
