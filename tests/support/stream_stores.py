"""Several replicas with one store of streams, in Redis or in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Protocol, TypeAlias

from clients.origin import Owner
from clients.state.connection import RedisConnection
from clients.state.news import MemoryNews, News, Subscriber
from clients.state.redis_news import RedisNews
from clients.state.streams.backend import LogBackend, LogLimits
from clients.state.streams.listeners import TurnNews
from clients.state.streams.records import Append, Appended, AppendStatus, Lease, NewStream, Opened, Page, StreamRecord
from clients.state.streams.redis_backend import RedisLogs
from clients.state.streams.store import StreamStore
from tests.support.memory_logs import MemoryWorld
from tests.support.stack import until
from tests.support.state import Seen

ALICE, BOB = Owner("alice"), Owner("bob")
_IDS = count(1)


def new(owner: Owner = ALICE, **facts: object) -> NewStream:
    """Return a stream with an id of its own."""
    return NewStream(id=f"stream:{next(_IDS)}", owner=owner, **facts)  # type: ignore[arg-type]


class Heard:
    """A listener that stores what it hears."""

    def __init__(self) -> None:
        self.turns: list[TurnNews] = []
        self.cancels: list[str] = []
        self.readers: list[tuple[str, int, bool]] = []
        self.fences: list[str] = []
        self.losses: list[str] = []
        self.orphans: dict[str, StreamRecord] = {}
        self.recoveries = 0
        self.errors: list[Exception] = []

    def turn_opened(self, news: TurnNews) -> None:
        self.turns.append(news)

    def cancel_requested(self, stream_id: str) -> None:
        self.cancels.append(stream_id)

    def readers_changed(self, stream_id: str, replicas: int, *, may_return: bool) -> None:
        self.readers.append((stream_id, replicas, may_return))

    def fenced(self, stream_id: str) -> None:
        self.fences.append(stream_id)

    def orphaned(self, records: Sequence[StreamRecord]) -> None:
        self.orphans.update({record.id: record for record in records})

    def missing(self, stream_id: str) -> None:
        self.losses.append(stream_id)

    def broke(self, error: Exception) -> None:
        self.errors.append(error)

    def available(self) -> None:
        self.recoveries += 1


class Copy:
    """A mirror that stores what it receives, and checks that nothing is missing or doubled."""

    def __init__(self, after: int = 0) -> None:
        self.entries: list[bytes] = []
        self.outcome: bytes | None = None
        self.is_lost = False
        self._after = after

    def entries_came(self, page: Page) -> None:
        assert page.after == self._after + len(self.entries), "a gap or an overlap"
        assert self.outcome is None, "a second end"
        assert not self.is_lost
        self.entries += page.entries
        self.outcome = page.outcome

    def entries_lost(self) -> None:
        assert not self.is_lost
        self.is_lost = True


class Clock:
    """A monotonic clock that tests can move. ``ahead`` are the seconds that tests have added."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Replica:
    """A replica, with its store and what the replica hears."""

    def __init__(self, backend: LogBackend, news: News) -> None:
        self.heard = Heard()
        self.clock = Clock()
        self.store = StreamStore(backend, news, self.clock)
        self.name = backend.replica
        self.backend = backend
        self._news = news

    async def start(self) -> None:
        """Begin to send heartbeats, and wait until the replica hears the others."""
        hears = asyncio.Event()
        self.store.start(self.heard)
        self._news.subscribe("test", Subscriber(lambda _: None, hears.set))
        await hears.wait()
        await until(lambda: self.store.is_checked and self.heard.recoveries)

    async def opened(self, stream: NewStream, **terms: object) -> Opened:
        """Open a stream that is not refused."""
        answer = await self.store.open(stream, **({"max_running": 100} | terms))  # type: ignore[arg-type]
        assert isinstance(answer, Opened), answer
        return answer

    async def append(self, lease: Lease, after: int, *entries: bytes, **facts: object) -> Appended:
        """Append to one stream."""
        (answer,) = await self.store.append([Append(lease=lease, after=after, entries=entries, **facts)])  # type: ignore[arg-type]
        return answer

    async def stored(self, lease: Lease, after: int, *entries: bytes, **facts: object) -> int:
        """Append to one stream, and return the stream's length."""
        answer = await self.append(lease, after, *entries, **facts)
        assert answer.status is AppendStatus.STORED, answer
        return answer.length

    def follow(self, record: NewStream, after: int = 0) -> Copy:
        """Follow a stream."""
        copy = Copy(after)
        self.store.follow(record.owner, record.id, after, copy)
        return copy


class Replicas(Protocol):
    """Replicas with one store."""

    async def replica(self, name: str, *, starts: bool = True) -> Replica:
        """Return a new replica. ``starts``: whether the replica sends heartbeats."""

    async def crash(self, name: str) -> None:
        """Let a replica reach nothing any more."""

    async def flush(self) -> None:
        """Remove everything from the store."""


class MemoryReplicas:
    """Replicas in this process's memory."""

    def __init__(self, stack: AsyncExitStack, limits: LogLimits) -> None:
        self.world = MemoryWorld(limits)
        self._stack = stack
        self._news = MemoryNews()

    async def replica(self, name: str, *, starts: bool = True) -> Replica:
        replica = Replica(self.world.replica(name), self._news)
        self._stack.push_async_callback(replica.store.aclose)
        if starts:
            await replica.start()
        return replica

    async def crash(self, name: str) -> None:
        self.world.crashed.add(name)

    async def flush(self) -> None:
        self.world.flush()


class RedisReplicas:
    """Replicas with one Redis. Each replica has connections of its own."""

    def __init__(self, stack: AsyncExitStack, url: str, limits: LogLimits) -> None:
        self.redis = RedisConnection(url, None, Seen())
        stack.push_async_callback(self.redis.aclose)
        self._stack = stack
        self._url = url
        self._limits = limits
        self._connections: dict[str, RedisConnection] = {}

    async def replica(self, name: str, *, starts: bool = True) -> Replica:
        connection = self._connections[name] = RedisConnection(self._url, None, Seen())
        self._stack.push_async_callback(connection.aclose)
        news = RedisNews(connection)
        self._stack.push_async_callback(news.aclose)
        replica = Replica(RedisLogs(connection, name, self._limits), news)
        self._stack.push_async_callback(replica.store.aclose)
        if starts:
            await replica.start()
        return replica

    async def crash(self, name: str) -> None:
        await self._connections[name].aclose()

    async def flush(self) -> None:
        await self.redis.command("FLUSHDB")


@asynccontextmanager
async def memory_replicas(limits: LogLimits) -> AsyncIterator[MemoryReplicas]:
    """Return replicas that share memory until the context ends."""
    async with AsyncExitStack() as stack:
        yield MemoryReplicas(stack, limits)


@asynccontextmanager
async def redis_replicas(url: str, limits: LogLimits) -> AsyncIterator[RedisReplicas]:
    """Return replicas that share a Redis until the context ends."""
    async with AsyncExitStack() as stack:
        yield RedisReplicas(stack, url, limits)


Stores: TypeAlias = Callable[[LogLimits], AbstractAsyncContextManager[Replicas]]
"""Returns replicas with the given limits."""
