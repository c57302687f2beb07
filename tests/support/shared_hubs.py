"""Several hubs of streams that share a store in this process's memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from clients.codes import Reason
from clients.errors import Interrupted
from clients.origin import Owner
from clients.state.news import MemoryNews
from clients.state.streams.backend import LogLimits, Place
from clients.state.streams.records import Append, Appended, Page
from clients.state.streams.store import StreamStore
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import (
    Delivery,
    Ended,
    Entry,
    Event,
    Started,
    StreamFailure,
    StreamOutcome,
    TextDelta,
)
from resolvers.streams.hub import StreamHub
from resolvers.streams.limits import StreamLimits
from resolvers.streams.stream import Source, Stream
from tests.support.memory_logs import MemoryLogs, MemoryWorld
from tests.support.scripted_streams import USER, Metrics, ScriptedSource

LEASE = 0.1


class Spoken(ScriptedSource):
    """A source that yields what a test says. ``words`` are the words of a whole answer, for a takeover."""

    def __init__(self, *said: Event) -> None:
        super().__init__()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self.say(*said)

    def say(self, *said: Event) -> None:
        """Yield events soon."""
        for event in said:
            self._queue.put_nowait(event)

    async def said(self) -> AsyncIterator[tuple[Event, bytes]]:
        while True:
            event = await self._queue.get()
            yield event, b"raw"
            if isinstance(event, Ended):
                return


class CountedLogs(MemoryLogs):
    """A store in memory that counts entries, and can hold appends (``gate``) and followers (``sends``) back.

    ``largest`` is the size of the largest call with appends, in bytes.
    """

    def __init__(self, world: MemoryWorld, name: str) -> None:
        super().__init__(world, name)
        self.appended = self.held_back = self.largest = self.sent = 0
        self.gate, self.sends = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.sends.set()

    async def next_pages(self, places: Sequence[Place], count: int) -> list[tuple[Place, Page]]:
        self.held_back += not self.sends.is_set()
        await self.sends.wait()
        pages = await super().next_pages(places, count)
        self.sent += sum(len(page.entries) for _, page in pages)
        return pages

    async def append(self, appends: Sequence[Append], *, renews: bool = False) -> list[Appended]:
        self.appended += sum(len(one.entries) for one in appends)
        self.largest = max(self.largest, sum(len(entry) for one in appends for entry in one.entries))
        await self.gate.wait()
        return await super().append(appends, renews=renews)


class SharedHub:
    """A hub, with its part of the store.

    ``continued`` has the sources of the streams that were taken over. If the hub ``refuses``, it continues no stream.
    """

    def __init__(self, world: MemoryWorld, news: MemoryNews, name: str, limits: dict[str, Any]) -> None:
        self.name = name
        self.backend = CountedLogs(world, name)
        self.metrics = Metrics()
        self.continued: list[Spoken] = []
        self.refuses: Exception | None = None
        self.streams = StreamHub(StreamLimits(**{"coalesce": 0, "heartbeat": 5, **limits}), self.metrics)
        self.store = StreamStore(self.backend, news)
        self.streams.share(self.store, EventCodec(), self._resume)

    def _resume(self, recipe: bytes, entries: Iterable[Entry]) -> Source:
        assert recipe == b"script"
        if self.refuses is not None:
            raise self.refuses
        source = Spoken(*([] if list(entries) else [Started()]))
        self.continued.append(source)
        return source

    async def read(self, stream: Stream, after: str | None = None) -> list[Delivery[Event]]:
        """Read a stream to its end."""
        async with self.streams.attached(stream):
            return [one async for one in self.streams.events(stream, after)]

    async def found(self, stream_id: str, owner: Owner = USER) -> Stream:
        """Find a stream."""
        return await self.streams.get(stream_id, owner)


class LostNews(MemoryNews):
    """News that can be lost."""

    is_lost = False

    def publish(self, topic: str, message: bytes) -> None:
        if not self.is_lost:
            super().publish(topic, message)


class Hubs:
    """Hubs that share a store."""

    def __init__(self, stack: AsyncExitStack, lease: float) -> None:
        self.world = MemoryWorld(LogLimits(lease=lease))
        self.news = LostNews()
        self._stack = stack
        self._hubs: list[SharedHub] = []

    async def hub(self, name: str, **limits: Any) -> SharedHub:
        """Return a new hub, after its first heartbeat."""
        hub = SharedHub(self.world, self.news, name, limits)
        self._stack.push_async_callback(hub.store.aclose)
        self._stack.push_async_callback(hub.streams.aclose)
        await eventually(lambda: hub.store.is_checked)
        for other in self._hubs:
            await other.store.beat()  # then, the others know the new hub
        self._hubs.append(hub)
        return hub


@asynccontextmanager
async def shared_hubs(lease: float = 3.0) -> AsyncIterator[Hubs]:
    """Return hubs that share a store until the context ends."""
    async with AsyncExitStack() as stack:
        yield Hubs(stack, lease)


async def eventually(check: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.001)


def words(count: int, first: int = 0) -> list[Event]:
    """Return deltas of numbered words."""
    return [TextDelta(text=f"w{number} ") for number in range(first, first + count)]


def spoken(count: int, first: int = 0) -> str:
    """Return the text of ``words``."""
    return "".join(f"w{number} " for number in range(first, first + count))


def lost_end() -> Ended:
    """Return the end of a completion whose process has stopped."""
    error = Interrupted("Stopped.", reason=Reason.OWNER_LOST)
    return Ended(outcome=StreamOutcome.FAILED, error=StreamFailure.of(error))
