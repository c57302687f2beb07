"""Reads records through the cache, and decides which record a reader receives.

A record is read from the process's memory, then from Redis, then from the service. The versions of the user's tags are
part of each read: they were read before the read began, and a mutation changes them before it answers. So no reader
receives a record from before a mutation that has already answered (decision 0064).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from clients.bounded import Lru
from clients.codes import Reason
from clients.errors import GatewayError, Service, UpstreamFailure
from clients.state.cache import CacheStore, Place, Tag, Versions
from clients.stored import Stored
from resolvers.cache.calls import Calls
from resolvers.cache.entries import Entries, Entry
from resolvers.cache.kinds import Kind
from resolvers.cache.reads import CacheMetrics, Load, Outcome, Read, Source, Wanted
from resolvers.cache.stale import REVALIDATING, SLOW, Stale

V = TypeVar("V")

MAX_REFRESHES = 100
"""The maximum number of records that are read again in the background at the same time."""

MAX_KEYS = 10_000
"""The maximum number of decoded virtual keys."""

MAX_LIST_BYTES = 8 * 1024 * 1024
"""The maximum memory of encoded lists of agents, in bytes."""

LOCAL_SECONDS = 2.0
"""The longest time for which a record is fresh while Redis is unavailable, in seconds."""

PATIENCE_SECONDS = 2.0
"""How long a reader that has an older record waits for a call, in seconds."""

SLOW_SECONDS = 10.0
"""How long readers that have older records do not wait for a service whose call was slow, in seconds."""

EXPIRE_SECONDS = 60.0
"""How often records that are too old are removed, in seconds."""

_REFUSALS = frozenset({Reason.CREDENTIAL, Reason.STATE_MISSING})
"""Reasons of errors that do not mean an outage. The client must see these errors."""


class Cache:
    """The cache of one process.

    Args:
        store: what the process shares with other replicas.
        memory: the maximum memory of the process's records, in bytes.
        clock: returns monotonic seconds.

    Attributes:
        keys: the virtual keys that were decoded from accounts, by user.
        agent_lists: the lists of agents that were encoded from accounts, by user.
    """

    def __init__(
        self, store: CacheStore, metrics: CacheMetrics, *, memory: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._metrics = metrics
        self.clock = clock
        self._entries = Entries(memory)
        self._calls = Calls(store, self._entries, clock)
        self._refreshes: dict[Place, asyncio.Task[None]] = {}
        self._slow: dict[Service, float] = {}
        self.keys: Lru[str, Any] = Lru(MAX_KEYS)
        self.agent_lists: Lru[str, Any] = Lru(MAX_LIST_BYTES)

    @property
    def memory(self) -> int:
        """The approximate memory of the process's records, in bytes."""
        return self._entries.memory

    @property
    def has_shared_records(self) -> bool:
        """Whether replicas share records."""
        return self._store.has_records

    async def run(self) -> None:
        """Remove the records that are too old to be used, until the task is cancelled."""
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            self._entries.expire(self.clock())

    async def aclose(self) -> None:
        """Cancel the reads in the background, and end this replica's claims."""
        refreshes = list(self._refreshes.values())
        for refresh in refreshes:
            refresh.cancel()
        await asyncio.gather(*refreshes, return_exceptions=True)
        await self._calls.aclose()

    async def versions(self, owner: str, known: Versions | None = None) -> Versions:
        """Return the versions of a user's tags. An operation needs them before its first read.

        ``known`` are the versions that the operation has read with its rate limit.
        """
        if known is not None and not self._store.is_behind(owner):
            return known
        return await self._store.versions(owner)

    async def drop(self, owner: str, tags: Iterable[Tag]) -> None:
        """Drop the user's records that have one of the tags. No later reader, on any replica, receives them.

        If the caller is cancelled, the records are dropped nevertheless.
        """
        if tags := tuple(tags):
            for tag in tags:
                self._metrics.cache_dropped(tag)
            if not self._store.has_records:  # the store is this process's memory, and never waits
                await self._store.drop(owner, tags)
                return
            await asyncio.shield(self._calls.write(self._store.drop(owner, tags)))

    def fresh(self, kind: Kind, owner: str, key: str, versions: Versions, shape: str) -> Entry | None:
        """Return an encoded record from the process's memory if it is fresh. For the arguments see ``read``."""
        entry = self._fresh(kind, versions, _place(kind, owner, key, versions, shape))
        if entry is not None:
            self._metrics.cache_read(kind.name, Outcome.HIT)
        return entry

    def hit(self, kind: Kind, owner: str, key: str, versions: Versions, stored: Stored[V]) -> Read[V] | None:
        """Return a record from the process's memory if it is fresh. For the arguments see ``read``.

        Most reads end here. ``read`` needs a task and three futures for the same record.
        """
        place = _place(kind, owner, key, versions, stored.shape)
        entry = self._fresh(kind, versions, place)
        read = None if entry is None else self._calls.decoded(place, entry, stored)
        if read is not None:
            self._metrics.cache_read(kind.name, Outcome.HIT)
        return read

    async def read(self, kind: Kind, owner: str, key: str, versions: Versions, source: Source[V]) -> Read[V]:
        """Return a record. ``key`` names the record among the user's records of this kind.

        Raises the error of the call, unless an older record can replace the failed call.
        """
        place = _place(kind, owner, key, versions, source.stored.shape)
        is_shared = self._store.has_records and versions.is_shared and not kind.is_secret
        fresh = _fresh_seconds(kind, versions)
        wanted = Wanted(kind, place, source, fresh, is_shared)
        found, outcome = await self._found(wanted)
        if found is not None and self._age(found) < fresh:
            read = found
        elif found is None or source.refresh is None:
            read, outcome = await self._called(wanted)
        elif self._age(found) < kind.revalidated:
            self._refresh(wanted, source.refresh)
            read, outcome = self._stale(kind, found, REVALIDATING), Outcome.REVALIDATING
        else:
            read, outcome = await self._called_unless_stale(wanted, found)
        self._metrics.cache_read(kind.name, outcome)
        return read

    def _fresh(self, kind: Kind, versions: Versions, place: Place) -> Entry | None:
        entry = self._entries.get(place.owner, place.name, place.version)
        return None if entry is None or self.clock() - entry.began >= _fresh_seconds(kind, versions) else entry

    async def _found(self, wanted: Wanted[V]) -> tuple[Read[V] | None, Outcome]:
        """Return the newest cached record. If the process's record is not fresh, Redis can have a newer one."""
        place, outcome = wanted.place, Outcome.HIT
        entry = self._entries.get(place.owner, place.name, place.version)
        if wanted.is_shared and (entry is None or self.clock() - entry.began >= wanted.fresh):
            shared = await self._calls.fetched(wanted)
            if shared is not None and (entry is None or shared.began > entry.began):
                entry, outcome = shared, Outcome.SHARED
        return None if entry is None else self._calls.decoded(place, entry, wanted.source.stored), outcome

    async def _called(self, wanted: Wanted[V]) -> tuple[Read[V], Outcome]:
        try:
            loaded, outcome = await self._calls.loaded(wanted, wanted.source.load)
        except UpstreamFailure:
            self._metrics.cache_read(wanted.kind.name, Outcome.FAILED)
            raise
        self._slow.pop(wanted.kind.service, None)
        return Read(*loaded), outcome

    async def _called_unless_stale(self, wanted: Wanted[V], found: Read[V]) -> tuple[Read[V], Outcome]:
        """Call the service. If the call fails or is slow, return the older record."""
        kind = wanted.kind
        patience = 0 if self._is_slow(kind.service) else PATIENCE_SECONDS
        if not patience and self._is_usable(kind, found) and (self._calls.is_loading(wanted.place) or self._is_busy):
            return self._stale(kind, found, SLOW), Outcome.STALE
        calling = asyncio.create_task(self._calls.loaded(wanted, wanted.source.load))
        try:
            await asyncio.wait({calling}, timeout=patience)
        except asyncio.CancelledError:
            calling.cancel()
            raise
        if not calling.done() and self._is_usable(kind, found):
            self._slow[kind.service] = self.clock() + SLOW_SECONDS
            self._continue(wanted, calling)
            return self._stale(kind, found, SLOW), Outcome.STALE
        try:
            loaded, outcome = await calling
        except UpstreamFailure as error:
            if not self._is_usable(kind, found) or not _is_outage(error):
                self._metrics.cache_read(kind.name, Outcome.FAILED)
                raise
            return self._stale(kind, found, error.reason or error.code), Outcome.STALE
        self._slow.pop(kind.service, None)
        return Read(*loaded), outcome

    def _is_usable(self, kind: Kind, found: Read[Any]) -> bool:
        """Return whether a record can replace a call that fails or is slow."""
        return self._age(found) < kind.longest

    def _is_slow(self, service: Service) -> bool:
        """Return whether readers that have older records do not wait for the service."""
        return self._slow.get(service, 0.0) > self.clock()

    @property
    def _is_busy(self) -> bool:
        return len(self._refreshes) >= MAX_REFRESHES

    def _continue(self, wanted: Wanted[Any], calling: asyncio.Task[Any]) -> None:
        """Let a call continue in the background, unless too many calls do, or another task waits for an equal call."""
        if wanted.place in self._refreshes or self._is_busy:
            calling.cancel()
            return
        self._refreshes[wanted.place] = task = asyncio.create_task(self._ended(wanted.kind.service, calling))
        task.add_done_callback(lambda _: self._refreshes.pop(wanted.place))

    async def _ended(self, service: Service, calling: asyncio.Task[Any]) -> None:
        """Wait for the end of a slow call."""
        try:
            await calling
        except GatewayError:
            return  # the next reader tries again
        self._slow.pop(service, None)

    def _refresh(self, wanted: Wanted[V], load: Load[V]) -> None:
        """Read a record again in the background, unless the record is being read."""
        if not self._calls.is_loading(wanted.place) and not self._is_busy:
            self._continue(wanted, asyncio.create_task(self._calls.loaded(wanted, load)))

    def _age(self, read: Read[Any]) -> float:
        return self.clock() - read.began

    def _stale(self, kind: Kind, read: Read[V], reason: str) -> Read[V]:
        return read._replace(stale=Stale(kind.service, self._age(read), reason))


def _place(kind: Kind, owner: str, key: str, versions: Versions, shape: str) -> Place:
    return Place(owner, f"{kind.name}:{shape}:{key}", kind.tags, versions.of(kind.tags))


def _fresh_seconds(kind: Kind, versions: Versions) -> float:
    return kind.fresh if versions.is_shared else min(kind.fresh, LOCAL_SECONDS)


def _is_outage(error: UpstreamFailure) -> bool:
    """Return whether an older record can replace a failed call. If the service has refused the call, none can."""
    if error.reason is Reason.STATUS:
        return error.retryable  # the status was 5xx
    return error.reason not in _REFUSALS
