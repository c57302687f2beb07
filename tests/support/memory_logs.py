"""Stores streams in this process's memory: several replicas share one world. The twin of the scripts in Redis."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from clients.origin import Owner
from clients.state.errors import StateCause, StateUnavailable
from clients.state.streams.backend import (
    ENTRY_BYTES,
    LINGER_SECONDS,
    QUOTA_STEP,
    RECORD_BYTES,
    RELEASED,
    Attendance,
    Beat,
    LogLimits,
    Place,
)
from clients.state.streams.records import (
    Append,
    Appended,
    AppendStatus,
    Lease,
    NewStream,
    Opened,
    OverLimit,
    OverQuota,
    Page,
    StreamRecord,
    StreamState,
    Taken,
    Token,
)


class _Stored:
    def __init__(self, stream: NewStream, holder: str, token: int, started: float, first: float) -> None:
        self.stream = stream
        self.holder = holder
        self.token = token
        self.previous: int | None = None
        self.state = StreamState.RUNNING
        self.is_cancelled = False
        self.outcome: bytes | None = None
        self.started_at = started
        self.first_began = first
        self.expires_at = 0.0
        self.bytes = RECORD_BYTES + len(stream.terms) + len(stream.recipe)
        self.entries: list[bytes] = []
        self.readers: set[str] = set()
        self.has_key = False
        self.is_listed = True

    @property
    def is_running(self) -> bool:
        return self.state is StreamState.RUNNING

    def record(self) -> StreamRecord:
        return StreamRecord(
            **msgspec.structs.asdict(self.stream),
            holder=self.holder,
            token=Token(self.token),
            state=self.state,
            length=len(self.entries),
            is_cancelled=self.is_cancelled,
            outcome=self.outcome,
            started_at=self.started_at,
            first_began=self.first_began,
            expires_at=None if self.is_running else self.expires_at,
        )

    def opened(self) -> Opened:
        record = self.record()
        return Opened(record, Lease(record.owner, record.id, record.token))


class MemoryWorld:
    """What several replicas share. ``clock`` returns seconds."""

    def __init__(self, limits: LogLimits, clock: Callable[[], float] = time.time) -> None:
        self.limits = limits
        self.clock = clock
        self.streams: dict[tuple[Owner, str], _Stored] = {}
        self.keys: dict[tuple[Owner, str], str] = {}
        self.alive: dict[str, float] = {}
        self.lost_until = 0.0
        self.is_down = False
        self.crashed: set[str] = set()
        self.listeners: list[Callable[[], None]] = []
        self.waiting: set[asyncio.Event] = set()

    def replica(self, name: str) -> MemoryLogs:
        """Return the place where a replica stores streams."""
        return MemoryLogs(self, name)

    def flush(self) -> None:
        """Lose everything, as Redis's FLUSHALL."""
        self.streams.clear()
        self.keys.clear()
        self.alive.clear()

    def fail(self) -> None:
        """Refuse everything until ``recover``."""
        self.is_down = True

    def recover(self) -> None:
        """End ``fail``."""
        self.is_down = False
        for listener in self.listeners:
            listener()

    def check(self, replica: str) -> None:
        """Raise StateUnavailable after ``fail``, or for a crashed replica. Remove what has expired."""
        if self.is_down or replica in self.crashed:
            raise StateUnavailable(StateCause.CONNECTION)
        now = self.clock()
        for key, one in list(self.streams.items()):
            if one.expires_at <= now:
                self.delete(key)

    def delete(self, key: tuple[Owner, str]) -> None:
        """Remove a stream and its key."""
        one = self.streams.pop(key)
        self.free(one)

    def free(self, one: _Stored) -> None:
        """Free a stream's key."""
        place = (one.stream.owner, one.stream.key or "")
        if one.has_key and self.keys.get(place) == one.stream.id:
            del self.keys[place]

    def token_after(self, earlier: int = 0) -> int:
        """Return a token that is larger than all earlier ones."""
        return max(int(self.clock() * 1000), earlier + 1)

    def listed(self, owner: Owner) -> list[_Stored]:
        """Return an owner's streams, oldest first."""
        found = [one for one in self.streams.values() if one.stream.owner == owner and one.is_listed]
        return sorted(found, key=lambda one: one.started_at)

    def make_room(self, owner: Owner, more: int, most: int = sys.maxsize) -> bool:
        """Evict the owner's ended streams, oldest first, until more bytes fit and at most ``most`` are listed."""
        listed = self.listed(owner)
        held, count, quota = sum(one.bytes for one in listed), len(listed), self.limits.owner_bytes
        for one in listed:
            if held + more <= quota and count <= most:
                break
            if not one.is_running:
                held, count = held - one.bytes, count - 1
                one.state, one.bytes, one.entries, one.is_listed = StreamState.EVICTED, 0, [], False
        return held + more <= quota and count <= most

    def wake(self) -> None:
        """Wake all followers."""
        for event in self.waiting:
            event.set()


class MemoryLogs:
    """Streams in memory, on behalf of one replica. See ``LogBackend``."""

    def __init__(self, world: MemoryWorld, replica: str) -> None:
        self.replica = replica
        self.limits = world.limits
        self._world = world
        self._woken = asyncio.Event()

    def on_available(self, listener: Callable[[], None]) -> None:
        self._world.listeners.append(listener)

    async def recovered(self, within: float) -> bool:
        return not (self._world.is_down or self.replica in self._world.crashed)

    async def open(
        self, stream: NewStream, *, max_running: int, replacing: str | None
    ) -> Opened | Taken | OverLimit | OverQuota:
        world = self._world
        world.check(self.replica)
        if (known := world.streams.get((stream.owner, stream.id))) is not None:
            return known.opened() if known.holder == self.replica else Taken(known.record())
        started = first = world.clock()
        if stream.key is not None and (taken := world.keys.get((stream.owner, stream.key))) is not None:
            earlier = world.streams[stream.owner, taken]
            if taken != replacing:
                return Taken(earlier.record())
            first = earlier.first_began
            started = max(started, first + 0.001)
        fits = world.make_room(
            stream.owner, RECORD_BYTES + len(stream.terms) + len(stream.recipe), self.limits.max_listed - 1
        )
        running = sum(1 for one in world.listed(stream.owner) if one.is_running)
        if running >= max_running:
            return OverLimit(running)
        if not fits:
            return OverQuota()
        return self._create(stream, world.token_after(), started, first, claims=True).opened()

    def _create(self, stream: NewStream, token: int, started: float, first: float, *, claims: bool) -> _Stored:
        world = self._world
        one = world.streams[stream.owner, stream.id] = _Stored(stream, self.replica, token, started, first)
        one.expires_at = world.clock() + world.limits.running
        if stream.key is not None and claims:
            one.has_key = True
            world.keys[stream.owner, stream.key] = stream.id
        return one

    async def restore(self, stream: NewStream, token: Token | None) -> tuple[Lease, int] | None:
        world = self._world
        world.check(self.replica)
        one = world.streams.get((stream.owner, stream.id))
        if one is not None:
            if one.token != token and not (token is None and one.holder == self.replica):
                if token is None or one.token > token:
                    return None
                one = self._create(stream, token, one.started_at, one.first_began, claims=one.has_key)
        else:
            now = world.clock()
            taken = stream.key is not None and (stream.owner, stream.key) in world.keys
            one = self._create(stream, token or world.token_after(), now, now, claims=not taken)
        opened = one.opened()
        return opened.lease, opened.record.length

    async def find(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        self._world.check(self.replica)
        one = self._world.streams.get((owner, stream_id))
        return None if one is None else one.record()

    async def at_key(self, owner: Owner, key: str) -> StreamRecord | None:
        self._world.check(self.replica)
        stream_id = self._world.keys.get((owner, key))
        return None if stream_id is None else await self.find(owner, stream_id)

    async def of(self, owner: Owner) -> list[StreamRecord]:
        self._world.check(self.replica)
        return [one.record() for one in self._world.listed(owner)]

    async def remove(self, lease: Lease) -> None:
        self._world.check(self.replica)
        one = self._world.streams.get((lease.owner, lease.stream_id))
        if one is not None and one.token == lease.token:
            self._world.delete((lease.owner, lease.stream_id))

    async def append(self, appends: Sequence[Append], *, renews: bool = False) -> list[Appended]:
        self._world.check(self.replica)
        answers = [self._append(one, renews=renews) for one in appends]
        self._world.wake()
        return answers

    def _append(self, append: Append, *, renews: bool) -> Appended:
        world, lease = self._world, append.lease
        one = world.streams.get((lease.owner, lease.stream_id))
        if one is None:
            return Appended(AppendStatus.MISSING, 0)
        count, cancelled = len(one.entries), one.is_cancelled
        if one.token != lease.token:
            status = AppendStatus.FENCED if one.token > lease.token else AppendStatus.MISSING
            return Appended(status, count, cancelled)
        if one.state is StreamState.EVICTED:
            return Appended(AppendStatus.STORED, append.after + len(append.entries), cancelled)
        if not one.is_running:
            return Appended(AppendStatus.STORED, count, cancelled)
        if count < append.after:
            return Appended(AppendStatus.BEHIND, count, cancelled)
        new = append.entries[count - append.after :]
        size = sum(len(entry) + ENTRY_BYTES for entry in new) + len(append.recipe or b"")
        steps = (one.bytes + size) // QUOTA_STEP > one.bytes // QUOTA_STEP
        if append.outcome is None and steps and not world.make_room(lease.owner, size):
            return Appended(AppendStatus.OVER_QUOTA, count, cancelled)
        one.entries += new
        one.bytes += size
        if append.recipe is not None:
            one.stream = msgspec.structs.replace(one.stream, recipe=append.recipe)
        if append.outcome is not None:
            self._end(one, append)
        elif renews:
            one.expires_at = world.clock() + world.limits.running
        return Appended(AppendStatus.STORED, len(one.entries), cancelled)

    def _end(self, one: _Stored, append: Append) -> None:
        one.state, one.outcome = StreamState.ENDED, append.outcome
        life = self._world.limits.retention
        if not (one.stream.is_retained and append.is_retained):
            life = min(life, LINGER_SECONDS)
            one.is_listed = False
            self._world.free(one)
        one.expires_at = self._world.clock() + life

    async def read(self, place: Place, count: int) -> Page | None:
        self._world.check(self.replica)
        one = self._world.streams.get((place.owner, place.stream_id))
        if one is None or one.state is StreamState.EVICTED or len(one.entries) < place.after:
            return None
        return _page(one, place, count)

    async def attend(self, owner: Owner, stream_id: str) -> Attendance | None:
        self._world.check(self.replica)
        if (one := self._world.streams.get((owner, stream_id))) is not None:
            one.readers.add(self.replica)
        return await self.attendance(owner, stream_id)

    async def leave(self, owner: Owner, stream_id: str) -> Attendance | None:
        self._world.check(self.replica)
        if (one := self._world.streams.get((owner, stream_id))) is not None:
            one.readers.discard(self.replica)
        return await self.attendance(owner, stream_id)

    async def attendance(self, owner: Owner, stream_id: str) -> Attendance | None:
        self._world.check(self.replica)
        one = self._world.streams.get((owner, stream_id))
        return None if one is None else Attendance(one.holder, frozenset(one.readers))

    async def cancel(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        self._world.check(self.replica)
        one = self._world.streams.get((owner, stream_id))
        if one is not None and one.is_running:
            one.is_cancelled = True
        return None if one is None else one.record()

    async def take_over(self, record: StreamRecord) -> Opened | None:
        return self._give(record.owner, record.id, record.token, self.replica)

    async def release(self, lease: Lease) -> None:
        self._give(lease.owner, lease.stream_id, lease.token, RELEASED)

    def _give(self, owner: Owner, stream_id: str, token: int, holder: str) -> Opened | None:
        self._world.check(self.replica)
        one = self._world.streams.get((owner, stream_id))
        if one is None or not one.is_running:
            return None
        if one.token == token:
            one.holder, one.previous, one.token = holder, token, self._world.token_after(token)
        elif one.holder != holder or one.previous != token:
            return None
        return one.opened()

    async def beat(self, *, again: bool) -> Beat:
        world = self._world
        world.check(self.replica)
        now = world.clock()
        before = world.alive.get(self.replica)
        if before is None and again:
            world.lost_until = now + self.limits.retention
        world.alive[self.replica] = now + self.limits.lease
        living = frozenset(one for one, until in world.alive.items() if until > now)
        dead = frozenset(world.alive) - living
        expired_at, listed = None if before is None else before * 1000, len(await self.listed())
        return Beat(now * 1000, expired_at, living, dead, listed, world.lost_until > now)

    async def listed(self) -> list[tuple[Owner, str]]:
        return [key for key, one in self._world.streams.items() if one.holder == self.replica and one.is_running]

    async def unlist(self, owner: Owner, stream_id: str) -> None:
        self._world.check(self.replica)

    async def hold(self, leases: Sequence[Lease]) -> None:
        self._world.check(self.replica)

    async def retire(self) -> None:
        self._world.check(self.replica)
        if self.replica in self._world.alive:
            self._world.alive[self.replica] = 0

    async def held_by(self, replica: str, count: int) -> list[StreamRecord]:
        self._world.check(self.replica)
        found = [one.record() for one in self._world.streams.values() if one.holder == replica and one.is_running]
        if not found and self._world.alive.get(replica, self._world.clock() + 1) <= self._world.clock():
            del self._world.alive[replica]
        random.shuffle(found)
        return found[:count]

    async def states(self, places: Sequence[Place]) -> list[tuple[StreamState | None, int]]:
        self._world.check(self.replica)
        found = [self._world.streams.get((place.owner, place.stream_id)) for place in places]
        return [(None, 0) if one is None else (one.state, len(one.entries)) for one in found]

    async def next_pages(self, places: Sequence[Place], count: int) -> list[tuple[Place, Page]]:
        self._world.check(self.replica)
        if pages := self._pages(places, count):
            return pages
        self._world.waiting.add(self._woken)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._woken.wait()
        finally:
            self._world.waiting.discard(self._woken)
            self._woken.clear()
        self._world.check(self.replica)
        return self._pages(places, count)

    def _pages(self, places: Sequence[Place], count: int) -> list[tuple[Place, Page]]:
        pages = []
        for place in places:
            one = self._world.streams.get((place.owner, place.stream_id))
            if one is not None and one.state is not StreamState.EVICTED and len(one.entries) >= place.after:
                page = _page(one, place, count)
                if page.entries or page.outcome is not None:
                    pages.append((place, page))
        return pages

    def wake(self) -> None:
        self._woken.set()

    async def aclose(self) -> None:
        pass


def _page(one: _Stored, place: Place, count: int) -> Page:
    entries = one.entries[place.after : place.after + count]
    has_all = place.after + len(entries) == len(one.entries)
    return Page(place.after, entries, one.outcome if has_all else None)
