"""A log that other replicas can read.

The replica that holds the stream appends. Readers can read an entry when the store has the entry, so that a cursor is
valid on every replica. If the store is unavailable, readers can read an entry at once.

The other replicas have mirrors of the log. A mirror receives the entries from the store.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, Protocol

from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, UpstreamTimeout
from resolvers.streams.events import Ended, Entry, Event
from resolvers.streams.log import Leave
from resolvers.streams.memory import MemoryLog
from resolvers.streams.waiters import woken

OLDEST = "0"
"""The cursor of a stream's beginning."""

_HELD_BY = "~"
"""Separates an entry's number from the holder, in the cursor of an entry that the store did not have."""


class Copier(Protocol):
    """Copies appended entries to the store."""

    def copy(self, stream_id: str) -> bool:
        """Copy a stream's new entries soon. Return False if the store is unavailable."""


class Unstored(NamedTuple):
    """An entry that the store does not have yet."""

    event: Event
    raw: bytes
    mark: int


class SharedLog(MemoryLog):
    """A log in this process's memory and in the store.

    Attributes:
        copier: copies appended entries; ``None`` in a mirror.
        holder: the id of the replica that holds the stream.
        stored: the number of entries that the store has.
        goal: the number of entries that a mirror must have before the mirror can be read.
        failure: the error of a mirror that receives no more entries.
        fetch: fetches a mirror's entries up to a position, or to the log's end.
        longest: returns the current number of the log's entries in the store, and updates ``holder``, for a mirror.
    """

    __slots__ = (
        "_has_end",
        "_waiting",
        "_waiting_raw",
        "_waiting_size",
        "copier",
        "failure",
        "fetch",
        "goal",
        "holder",
        "longest",
        "stored",
    )

    def __init__(self, stream_id: str, holder: str, copier: Copier | None = None) -> None:
        super().__init__(stream_id)
        self.holder = holder
        self.copier = copier
        self.stored = self.goal = 0
        self.failure: GatewayError | None = None
        self.fetch: Callable[[str, int], Awaitable[None]] | None = None
        self.longest: Callable[[str], Awaitable[int]] | None = None
        self._waiting: deque[Unstored] = deque()
        self._waiting_size = self._waiting_raw = 0
        self._has_end = False

    # The replica that holds the stream

    def append(self, event: Event, raw: bytes = b"", mark: int = 0) -> None:
        """Add an event, which readers can read when the store has the event."""
        if self.is_closed or self.copier is None:
            raise RuntimeError("only the holder of a stream appends, and a stream has one end")
        self._has_end = type(event) is Ended
        self._waiting.append(Unstored(event, raw, mark))
        self._waiting_size += event.size
        self._waiting_raw += len(raw)
        if not self.copier.copy(self.stream_id):
            self.show(self.total)

    def show(self, position: int) -> None:
        """Let readers read the entries up to a position."""
        while self._waiting and self.length < position:
            event, raw, mark = self._waiting.popleft()
            self._waiting_size -= event.size
            self._waiting_raw -= len(raw)
            self._show(event, raw, mark)

    async def unstored(self, most: int, most_bytes: int) -> list[Unstored]:
        """Return the next entries that the store does not have: at most ``most``, and about ``most_bytes``."""
        found: list[Unstored] = []
        for entry in self._unstored():
            found.append(entry)
            most_bytes -= entry.event.size + len(entry.raw)
            if len(found) >= most or most_bytes <= 0:
                break
        return found

    def _unstored(self) -> Iterator[Unstored]:
        position = self.stored
        while position < self.length:
            entries = self._entries.after(position)
            yield from (Unstored(entry.event, entry.raw, entry.mark) for entry in entries)
            position += len(entries)
        yield from islice(self._waiting, max(0, self.stored - self.length), None)

    @property
    def total(self) -> int:
        """The number of entries, including the entries that readers cannot read yet."""
        return self.length + len(self._waiting)

    def hold(self, holder: str, copier: Copier) -> None:
        """Stop being a mirror, because this process holds the stream now."""
        self.holder, self.copier = holder, copier
        self.stored, self.goal = self.length, 0
        self.fetch = self.longest = self.failure = None

    async def entries(self) -> list[Entry]:
        """Return all entries that readers can read, without joining deltas."""
        found: list[Entry] = []
        while len(found) < self.length:
            found += self._entries.after(len(found))
        return found

    def release(self) -> None:
        """Become a mirror, because another replica holds the stream now."""
        self.copier = self.on_end = None
        self.drop()

    def drop(self) -> None:
        """Drop the entries that nobody has read."""
        self._waiting.clear()
        self._waiting_size = self._waiting_raw = 0
        self._has_end = False

    # A mirror

    def came(self, entry: Entry) -> None:
        """Add an entry that the store has sent. Ignore an entry that the mirror has already."""
        if entry.seq == self.length + 1 and not self._has_end:
            self._has_end = type(entry.event) is Ended
            self._show(entry.event, entry.raw, entry.mark)
            self.stored = self.length

    async def reached(self, position: int) -> None:
        """Wait until the mirror has the entries up to a position, has all entries, or has failed."""
        while not self.has(position) and self.failure is None:
            await woken(self._grown)

    def has(self, position: int) -> bool:
        """Return whether a mirror has the entries up to a position. If the stream has ended, the mirror needs all."""
        return self.is_whole or (self.ended is None and self.length >= position)

    def fail(self, error: GatewayError) -> None:
        """Raise an error in all readers, because the mirror receives no more entries."""
        self.failure = error
        self._grown.wake()

    @property
    def is_whole(self) -> bool:
        """Return whether readers can read the ``Ended`` event. A mirror can know the end before it has the entry."""
        return self._has_end and not self._waiting

    # What the log holds

    @property
    def is_begun(self) -> bool:
        """Return whether an event was appended."""
        return self.total > 0

    @property
    def is_closed(self) -> bool:
        """Return whether the last event was appended."""
        return self._has_end or self.ended is not None

    @property
    def is_kept_elsewhere(self) -> bool:
        """Return whether the store has the complete log."""
        return self.ended is not None and self.stored >= self.length

    @property
    def size(self) -> int:
        """The size of the answer, including the events that readers cannot read yet."""
        return self._entries.size + self._waiting_size

    @property
    def weight(self) -> int:
        """The approximate memory of the log, in bytes."""
        return self._entries.weight + self._waiting_size + self._waiting_raw

    # Reading

    async def filled(self) -> None:
        """Wait until a mirror has the entries that the log had when the stream was found."""
        if not self.has(self.goal) and self.fetch is not None:
            await self.fetch(self.stream_id, self.goal)
        self._check()

    def cursor(self, position: int) -> str:
        """Return the cursor of a position. If the store does not have the entry yet, the cursor names the holder."""
        number = super().cursor(position)
        return number if position <= self.stored else f"{number}{_HELD_BY}{_short(self.holder)}"

    async def position(self, cursor: str | None) -> int:
        """Return the position after a cursor.

        Raises:
            BadUserInput: reason ``CURSOR``. The reason is ``GAP`` if another replica holds the stream now, and the
                store did not have the cursor's event.
            UpstreamTimeout: the holder has not copied the cursor's event to the store.
        """
        await self.filled()
        if cursor is not None:
            cursor, _, holder = cursor.partition(_HELD_BY)
            if holder and self.longest is not None:
                await self.longest(self.stream_id)  # another replica may hold the stream meanwhile
            if holder and holder != _short(self.holder):
                raise gap()
        if cursor is not None and cursor.isascii() and cursor.isdecimal() and len(cursor) < 16:
            await self._reach(int(cursor), is_sent=bool(holder))
        return await super().position(cursor)

    async def _reach(self, position: int, *, is_sent: bool) -> None:
        """Wait for entries that another replica may have sent to the reader already.

        After an outage of the store, the holder has entries that the store does not have yet.
        """
        if position <= self.length:
            return
        if self.longest is not None:
            self.goal = max(self.goal, await self.longest(self.stream_id))
            await self.filled()
            if position > self.length and self.fetch is not None:
                with suppress(*() if is_sent else (UpstreamTimeout,)):
                    await self.fetch(self.stream_id, position)
                self._check()
        elif position <= self.total:
            while self.length < position:
                await woken(self._grown)

    async def more(self, position: int, leave: Leave | None = None) -> None:
        """Wait for an entry after a position, the log's end, or the reader's detachment."""
        if self.length <= position and not self.has(self.goal):
            await self.filled()
        self._check()
        await super().more(position, leave)
        self._check()

    async def joined_events(self) -> list[Event]:
        """Join consecutive deltas and return all events, after readers can read the appended events."""
        await self.filled()
        while self._waiting:
            await woken(self._grown)
        return await super().joined_events()

    async def whole_events(self) -> list[Event]:
        """Return the events that are neither deltas nor ``Raw``."""
        await self.filled()
        return await super().whole_events()

    async def end(self) -> Ended:
        """Wait until the log ends. The wait does not slow the log's source."""
        with self.reading(sys.maxsize):
            while self.ended is None or not self.has(self.goal):
                await self.more(self.length)
        return self.ended

    def _check(self) -> None:
        if self.failure is not None and not self.is_whole:
            raise self.failure


def gap() -> BadUserInput:
    """Return the error for a reader who has received events that were lost, or whose next events were lost."""
    return BadUserInput(
        "Events of this stream were lost when Redis or a gateway process failed, or were evicted. Discard the text of "
        f"the answer, and subscribe again with the cursor {OLDEST} as `after`.",
        reason=Reason.GAP,
        details={"oldestCursor": OLDEST},
    )


def _short(replica: str) -> str:
    return replica[:8]
