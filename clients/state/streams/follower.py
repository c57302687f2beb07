"""Sends the entries of other replicas' streams to mirrors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from clients.origin import Owner
from clients.state.errors import StateCause, StateUnavailable
from clients.state.streams.backend import LogBackend, Place
from clients.state.streams.listeners import Mirror
from clients.state.streams.records import Page, StreamState

READ_ENTRIES = 4096
"""The approximate maximum number of entries that one read returns, for all streams together."""

STREAM_ENTRIES = 256
"""The maximum number of entries that one read returns for one stream."""

PAUSE_SECONDS = 10e-6
"""How long the follower waits between two reads, in seconds for each stream. The next read returns more entries."""

CHECK_SECONDS = 2.0
"""After this time without entries, the follower checks whether a stream still exists, in seconds."""

LOST_SECONDS = 10.0
"""How long a stream's record can be missing until the follower gives up, in seconds. If Redis has lost its data, the
stream's holder restores the stream."""

_MAX_PAUSE_SECONDS = 1.0


class Following:
    """A mirror that receives a stream's entries. After the last page, nothing needs to be closed."""

    __slots__ = ("_follower", "checked_at", "lost_since", "mirror", "place")

    def __init__(self, follower: LogFollower, place: Place, mirror: Mirror, now: float) -> None:
        self._follower = follower
        self.place = place
        self.mirror = mirror
        self.checked_at = now
        self.lost_since: float | None = None

    def close(self) -> None:
        """Stop for good. The mirror gets no more calls."""
        self._follower.remove(self)


class LogFollower:
    """Reads the followed streams of one process in one task.

    The follower holds the entries of one read, so a slow process reads in larger steps. While the store is unavailable,
    the follower waits, and then continues each stream at its own position. ``report`` receives internal errors.
    """

    def __init__(
        self, backend: LogBackend, report: Callable[[Exception], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._report = report
        self._clock = clock
        self._most = READ_ENTRIES
        self._following: dict[Following, None] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, owner: Owner, stream_id: str, after: int, mirror: Mirror) -> Following:
        """Send a stream's entries after a position to a mirror."""
        following = Following(self, Place(owner, stream_id, after), mirror, self._clock())
        self._following[following] = None
        self.changed()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return following

    def remove(self, following: Following) -> None:
        """Stop sending entries to a mirror."""
        self._following.pop(following, None)

    def changed(self) -> None:
        """Read the streams that are now followed, without waiting for the end of the current read."""
        if self._task is not None and not self._changed.is_set():
            self._backend.wake()
        self._changed.set()

    async def aclose(self) -> None:
        """Stop following all streams."""
        self._following.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = 0.01
        while True:
            self._changed.clear()
            active = list(self._following)
            if not active:
                await self._changed.wait()
                continue
            try:
                await self._read(active)
                await self._check(active)
            except Exception as error:  # noqa: BLE001 - without the follower, all mirrors would wait for ever
                if not isinstance(error, StateUnavailable):
                    self._report(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
            else:
                pause = 0.01
                await asyncio.sleep(PAUSE_SECONDS * len(active))

    async def _read(self, active: list[Following]) -> None:
        streams: dict[tuple[Owner, str], list[Following]] = {}
        for one in active:
            streams.setdefault((one.place.owner, one.place.stream_id), []).append(one)
        places = [min((one.place for one in same), key=lambda place: place.after) for same in streams.values()]
        sent = 0
        for place, page in await self._next_pages(places):
            for following in streams[place.owner, place.stream_id]:
                if following in self._following:
                    self._send(following, page)
                    sent += len(page.entries)
            if sent >= STREAM_ENTRIES:
                sent = 0
                await asyncio.sleep(0)

    async def _next_pages(self, places: list[Place]) -> list[tuple[Place, Page]]:
        """Read entries. Read fewer after a timeout, since large entries or a slow network can exceed the timeout."""
        try:
            pages = await self._backend.next_pages(places, max(1, min(STREAM_ENTRIES, self._most // len(places))))
        except StateUnavailable as error:
            if error.cause is StateCause.TIMEOUT:
                self._most = max(len(places), min(self._most, STREAM_ENTRIES * len(places)) // 4)
            raise
        self._most = min(2 * self._most, READ_ENTRIES)
        return pages

    def _send(self, following: Following, page: Page) -> None:
        """Send the entries that the mirror does not have yet. A page without entries and outcome begins with a gap."""
        following.checked_at, following.lost_since = self._clock(), None
        place = following.place
        if not page.entries and page.outcome is None:
            self._lose(following)
            return
        known = place.after - page.after
        if known >= len(page.entries) and page.outcome is None:
            return
        page = Page(place.after, page.entries[known:], page.outcome) if known else page
        following.place = Place(place.owner, place.stream_id, place.after + len(page.entries))
        if page.outcome is not None:
            self.remove(following)
        following.mirror.entries_came(page)

    def _lose(self, following: Following) -> None:
        self.remove(following)
        following.mirror.entries_lost()

    async def _check(self, active: list[Following]) -> None:
        """Give up streams that no longer exist. A blocking read would wait for their entries for ever."""
        now = self._clock()
        quiet = [one for one in active if now - one.checked_at >= CHECK_SECONDS and one in self._following]
        if not quiet:
            return
        states = await self._backend.states([one.place for one in quiet])
        for following, (state, length) in zip(quiet, states, strict=True):
            following.checked_at = now
            if state is StreamState.RUNNING or (state is StreamState.ENDED and length >= following.place.after):
                following.lost_since = None
                continue
            if following.lost_since is None:
                following.lost_since = now
            is_lost = state is StreamState.EVICTED or now - following.lost_since >= LOST_SECONDS
            if is_lost and following in self._following:
                self._lose(following)
