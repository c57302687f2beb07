"""A source of numbers behind the cache, whose calls a test answers one by one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from unittest.mock import patch

from clients.codes import Reason
from clients.errors import Service, UpstreamUnavailable
from clients.state.cache import CacheStore, Tag
from clients.stored import Stored
from resolvers.cache.kinds import Kind
from resolvers.cache.policy import Cache
from resolvers.cache.reads import Loaded, Outcome, Read, Source

NUMBER = Kind(name="number", service=Service.AMS, reads="a number", fresh=5, tags=(Tag.AGENTS,))
GRADUAL = Kind(name="gradual", service=Service.AMS, reads="a number", fresh=5, revalidated=60, tags=(Tag.AGENTS,))
STORED = Stored[int](int)


class Counted:
    """Counts the cache's reads and drops."""

    def __init__(self) -> None:
        self.reads: Counter[tuple[str, Outcome]] = Counter()
        self.drops: Counter[Tag] = Counter()

    def cache_read(self, kind: str, outcome: Outcome) -> None:
        self.reads[kind, outcome] += 1

    def cache_dropped(self, tag: Tag) -> None:
        self.drops[tag] += 1

    def outcomes(self) -> dict[str, int]:
        """Return the number of reads by outcome, of all kinds."""
        found: Counter[str] = Counter()
        for (_, outcome), number in self.reads.items():
            found[outcome.value] += number
        return dict(found)


@dataclass
class PendingCall:
    """A call that waits for its answer. The service has read ``value`` when the call began."""

    value: int
    answered: asyncio.Future[int]

    def answer(self) -> None:
        if not self.answered.done():
            self.answered.set_result(self.value)

    def fail(self) -> None:
        if not self.answered.done():
            error = UpstreamUnavailable("AMS is down.", reason=Reason.CONNECT, service=Service.AMS)
            self.answered.set_exception(error)


@dataclass
class Numbers:
    """A service that stores one number. ``calls`` counts the calls."""

    value: int = 0
    calls: int = 0
    is_held: bool = False
    is_down: bool = False
    pending: list[PendingCall] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    async def load(self) -> Loaded[int]:
        self.calls += 1
        call, began = PendingCall(self.value, asyncio.get_running_loop().create_future()), self.clock()
        if self.is_down:
            call.fail()
        elif not self.is_held:
            call.answer()
        else:
            self.pending.append(call)
        try:
            return Loaded(await call.answered, began)
        finally:
            if call in self.pending:
                self.pending.remove(call)

    async def read(self, cache: Cache, kind: Kind = NUMBER, owner: str = "ada", key: str = "k") -> Read[int]:
        """Read the number through a cache, as one operation."""
        versions = await cache.versions(owner)
        return await cache.read(kind, owner, key, versions, Source(STORED, self.load, self.load))

    async def change(self, cache: Cache, owner: str = "ada") -> int:
        """Change the number, as one mutation. Return the new number."""
        self.value += 1
        changed = self.value
        await cache.drop(owner, [Tag.AGENTS])
        return changed


def cache_of(
    store: CacheStore,
    *,
    clock: Callable[[], float] = time.monotonic,
    memory: int = 1 << 20,
    seen: Counted | None = None,
) -> Cache:
    """Return a cache, as one replica."""
    return Cache(store, seen or Counted(), memory=memory, clock=clock)


async def ticks(number: int = 20) -> None:
    """Let the tasks that can run do so."""
    for _ in range(number):
        await asyncio.sleep(0)


@contextmanager
def clocked(clock: Callable[[], float] | None = None) -> Iterator[None]:
    """Let the caches of new gateways use a clock; by default, one on which a second takes a million looks."""
    looks = count()
    with patch("app.caching.Cache", partial(Cache, clock=clock or (lambda: next(looks) / 1e6))):
        yield


async def changes_nothing(*_: Tag) -> None:
    """Stand for ``RequestContext.changed`` without a cache."""
