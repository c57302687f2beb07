"""Shares the state of circuit breakers between replicas, through Redis.

A script stores a service's open breakers, and publishes each change. Redis orders the changes, and all processes apply
a breaker's last change. A process reads the open breakers before its first request, after each connection, and when
Redis answers again. The process then also stores the open breakers that Redis does not have (decision 0067).
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from clients.breaker import BreakerState
from clients.breakers import MAX_PARTS, BreakerKey, Breakers
from clients.errors import Service
from clients.state.breaker_scripts import CHANGE, READ, TRY
from clients.state.errors import StateUnavailable
from clients.state.names import BREAKER_TRIAL, OPEN_BREAKERS, channel
from clients.state.news import News, Subscriber

if TYPE_CHECKING:  # redis-py is imported only if it is used
    from clients.state.connection import RedisConnection

TOPIC = "breakers"

RETRY_SECONDS = 1.0
"""The interval at which the gateway tries again to share changes that Redis has refused, in seconds."""

_KEPT_MILLISECONDS = 30_000
"""The time for which Redis stores a breaker that is no longer open. A new process then begins with a trial call."""

_SLACK_MILLISECONDS = 250
"""The time by which replicas can differ about the end of an open breaker's time."""

EARLIER = 0.9
"""The part of an open breaker's time for which other replicas refuse calls.

So another replica makes the first trial call, and shows whether only the first replica cannot reach the service.
"""

DOUBT_SECONDS = 60.0
"""The time for which the replicas ignore a replica that could not reach a service which others reached, in seconds."""

_SERVICE = BreakerKey(None, None)

_BATCH = 100
"""The maximum number of changes in one message."""

_CLOSED, _UNCHANGED = -1, -2
"""The numbers that stand for another change than an open breaker's milliseconds."""


class _Change(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A breaker that has opened for some milliseconds, or has closed."""

    part: str | None
    caller: str | None
    milliseconds: int


class _Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Changes of one service's breakers. ``number`` counts the messages of a replica."""

    replica: str
    number: int
    service: str
    changes: list[_Change]


class RedisBreakerNews:
    """Shares the states of all services' breakers with the other replicas."""

    def __init__(self, redis: RedisConnection, news: News, breakers: Mapping[Service, Breakers]) -> None:
        self._redis = redis
        self._is_outdated = True
        self._wake = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        replica = uuid.uuid4().hex
        self._services = {
            service.value: _ServiceNews(redis, service.value, shared, replica, self._wake.set)
            for service, shared in breakers.items()
        }
        for service, shared in breakers.items():
            shared.share(self._services[service.value])
        news.subscribe(TOPIC, Subscriber(self._hear, self._connected))
        redis.on_change(lambda _: self._outdated())

    async def open(self) -> None:
        """Read the open breakers, if Redis answers. Share changes until ``aclose``."""
        await self._exchange()
        self._following = asyncio.create_task(self._follow())

    async def aclose(self) -> None:
        """Stop sharing changes."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    def _outdated(self) -> None:
        self._is_outdated = True
        self._wake.set()

    def _connected(self) -> None:
        for service in self._services.values():
            service.reconnected()
        self._outdated()

    def _hear(self, payload: bytes) -> None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):  # for example, from another version of the gateway
            message = msgspec.json.decode(payload, type=_Message)
            if message.service in self._services:
                self._services[message.service].hear(message)

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if self._is_outdated else None):
                    await self._wake.wait()
            self._wake.clear()
            await self._exchange()

    async def _exchange(self) -> None:
        """Read the open breakers if necessary, and send this process's changes."""
        try:
            if self._is_outdated and self._redis.is_up:
                self._is_outdated = False
                for service in self._services.values():
                    await service.read()
            for service in self._services.values():
                await service.send()
        except StateUnavailable:
            self._is_outdated = True
            for service in self._services.values():
                service.drop()


class _ServiceNews:
    """Shares the states of one service's breakers.

    While a process's change of a breaker is on its way to Redis, the process ignores earlier changes of others.

    If Redis fails, unsent changes are dropped. The next ``read`` sends the breakers that are then open.
    """

    def __init__(
        self, redis: RedisConnection, service: str, breakers: Breakers, replica: str, wake: Callable[[], None]
    ) -> None:
        self._redis = redis
        self._service = service
        self._breakers = breakers
        self._replica = replica
        self._wake = wake
        self._longest = math.ceil(1000 * breakers.reset_seconds)
        self._open = OPEN_BREAKERS.key(service)
        self._channel = channel(redis.database, TOPIC)
        self._numbers = count(1)
        self._has_read = False
        self._changes: dict[BreakerKey, float | None] = {}  # when the open breaker admits a trial call
        self._sent: dict[BreakerKey, int] = {}  # the numbers of the messages that this process has not received yet
        self._trials: dict[BreakerKey, str] = {}
        self._ended: dict[BreakerKey, str] = {}
        self._opener = ""  # the replica that has opened the breaker of the whole service last
        self._doubted: dict[str, float] = {}

    # What this process's breakers report

    def changed(self, key: BreakerKey, state: BreakerState, seconds: float) -> None:
        """Share a new state. ``HALF_OPEN`` is not shared, because time makes each process's breaker half-open."""
        if state is BreakerState.HALF_OPEN:
            return
        is_open = state is BreakerState.OPEN
        if key != _SERVICE or self._judge(self._replica, is_open=is_open):
            self._changes[key] = time.monotonic() + seconds if is_open else None
            self._wake()
        self.trial_ended(key)

    async def may_try(self, key: BreakerKey) -> bool:
        """Return whether this process may make a trial call.

        If another replica makes a trial call, this process may not. If Redis fails, each process makes trial calls.
        """
        token = f":{next(self._numbers)}"
        self._trials[key] = self._replica + token
        keys = [self._open, _trial_key(self._service, key)]
        arguments: list[str | bytes | int]
        arguments = [_name(key), _SLACK_MILLISECONDS, self._replica, token, BREAKER_TRIAL.milliseconds, self._longest]
        try:
            answer = int(await self._redis.script(TRY, keys, arguments))
        except StateUnavailable:
            return True
        if answer != 0:
            self._trials.pop(key, None)
        if answer > 0:  # the message was late, or was lost
            self._learn(key, answer)
        return answer == 0

    def trial_ended(self, key: BreakerKey) -> None:
        """Let other replicas make the next trial call."""
        if (token := self._trials.pop(key, None)) is not None:
            self._ended[key] = token
            self._wake()

    # What this process sends and receives

    async def send(self) -> None:
        """Send the changes. Raises StateUnavailable."""
        while batch := [*dict.fromkeys([*self._changes, *self._ended])][:_BATCH]:
            number, now = next(self._numbers), time.monotonic()
            left = {key: _left(self._changes.pop(key), now) for key in batch if key in self._changes}
            changes = [_Change(*key, one) for key, one in left.items() if one != _UNCHANGED]
            message = _Message(self._replica, number, self._service, changes)
            self._sent.update((BreakerKey(one.part, one.caller), number) for one in changes)
            keys = [self._open, *(_trial_key(self._service, key) for key in batch)]
            arguments: list[str | bytes | int] = [_KEPT_MILLISECONDS, MAX_PARTS, self._channel]
            arguments.append(msgspec.json.encode(message) if changes else b"")
            for key in batch:
                arguments += [_name(key), left.get(key, _UNCHANGED), self._ended.pop(key, "")]
            await self._redis.script(CHANGE, keys, arguments)

    def hear(self, message: _Message) -> None:
        """Apply the changes of another process. This process's message only ends the wait for the message."""
        for change in message.changes:
            key = BreakerKey(change.part, change.caller)
            if message.replica != self._replica:
                self._apply(key, change.milliseconds, message.replica)
            elif self._sent.get(key) == message.number:
                del self._sent[key]

    async def read(self) -> None:
        """Apply the open breakers in Redis. Queue those that Redis does not have. Raises StateUnavailable."""
        found = await self._redis.script(READ, [self._open], [_KEPT_MILLISECONDS])
        stored = {key: int(left) for name, left in zip(found[::2], found[1::2], strict=True) for key in _keys(name)}
        for key, left in stored.items():
            if left > 0 or not self._has_read:
                self._apply(key, max(left, 0))
        self._has_read = True
        for key, seconds in self._breakers.opened().items():
            if stored.get(key, 0) <= 0 and key not in self._changes:
                self.changed(key, BreakerState.OPEN, seconds)

    def reconnected(self) -> None:
        """Do not wait for this process's messages, because messages before this connection may be lost."""
        self._sent.clear()

    def drop(self) -> None:
        """Drop the changes that Redis could not store."""
        self._changes.clear()
        self._ended.clear()
        self._sent.clear()

    def _apply(self, key: BreakerKey, milliseconds: int, replica: str = "") -> None:
        is_valid = milliseconds >= _CLOSED and not (key.part is None and key.caller is not None)
        if not is_valid or key in self._changes or key in self._sent:
            return
        if key != _SERVICE or self._judge(replica, is_open=milliseconds != _CLOSED):
            self._learn(key, milliseconds)

    def _learn(self, key: BreakerKey, milliseconds: int) -> None:
        state = BreakerState.CLOSED if milliseconds == _CLOSED else BreakerState.OPEN
        self._breakers.apply(key, state, max(milliseconds, 0) / 1000)
        self.trial_ended(key)

    def _judge(self, replica: str, *, is_open: bool) -> bool:
        """Return whether to apply a replica's change of the breaker of the whole service.

        If another replica closes the breaker, all replicas ignore later changes of the replica that opened the breaker.
        Perhaps only this replica cannot reach the service. Each time the replica opens the breaker, the time restarts.
        """
        now = time.monotonic()
        if is_open and self._doubted.get(replica, now) > now:
            self._doubted[replica] = now + DOUBT_SECONDS
            return False
        if is_open:
            self._opener = replica or self._opener
        elif self._opener not in {"", replica}:
            self._doubted = {one: until for one, until in self._doubted.items() if until > now}
            self._doubted[self._opener] = now + DOUBT_SECONDS
            self._opener = ""
        return True


def _left(until: float | None, now: float) -> int:
    """Return the milliseconds for which others refuse calls, ``_CLOSED``, or ``_UNCHANGED`` if the time has passed."""
    if until is None:
        return _CLOSED
    return math.ceil(EARLIER * (until - now) * 1000) if until > now else _UNCHANGED


def _name(key: BreakerKey) -> bytes:
    return msgspec.json.encode(key)


def _keys(name: bytes) -> list[BreakerKey]:
    """Decode a breaker's name. If the name cannot be decoded, return an empty list."""
    try:
        return [BreakerKey(*msgspec.json.decode(name, type=tuple[str | None, str | None]))]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def _trial_key(service: str, key: BreakerKey) -> str:
    return BREAKER_TRIAL.key(service, *(one for one in key if one is not None))
