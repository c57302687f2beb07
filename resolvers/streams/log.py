"""One stream's events, in memory: appended once, read from any cursor by any number of readers.

A reader is a position in the log, so a slow one costs nothing but its position: what waits for it is merged when it
comes back, and past a bound it is let go.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator

from clients.errors import BadUserInput
from resolvers.streams.entries import Entries
from resolvers.streams.events import Detached, DetachReason, Ended, Entry, Event, MessageAdded, Raw, Started, merge
from resolvers.streams.waiters import Waiters, woken


class Leave(Waiters):
    """Tells readers that they are let go, and why, while their streams go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: DetachReason | None = None

    def now(self, reason: DetachReason) -> None:
        """Let go every reader that was given this, those to come included."""
        self.reason = reason
        self.wake()


class StreamLog:
    """An append-only log that ends with exactly one ``Ended``."""

    def __init__(self) -> None:
        self.entries = Entries()
        self.started: Started | None = None
        self.ended: Ended | None = None
        self.messages: list[MessageAdded] = []
        self._sizes = array("Q", [0])
        self._grown = Waiters()

    @property
    def weight(self) -> int:
        """The bytes it takes in memory, about."""
        return self.entries.weight

    @property
    def size(self) -> int:
        """The bytes of the answer: its text in UTF-8, reasoning and arguments included, and its messages."""
        return self._sizes[-1]

    def append(self, event: Event, raw: bytes = b"") -> None:
        """Add an event and number it. Nothing comes after the end.

        Raises:
            RuntimeError: when the log has ended.
        """
        if self.ended is not None:
            raise RuntimeError("a stream has one end")
        entry = Entry(len(self.entries) + 1, event, raw)
        event.cursor = str(entry.seq)
        self.entries.append(entry)
        self._sizes.append(self.size + event.size)
        match event:
            case Started():
                self.started = self.started or event
            case MessageAdded():
                self.messages.append(event)
            case Ended():
                self.ended = event
            case _:
                pass
        self._grown.wake()

    def position(self, after: str | None) -> int:
        """How many entries stand before and at a cursor.

        Raises:
            BadUserInput: when no event of this stream has that cursor.
        """
        if after is None:
            return 0
        if not (after.isascii() and after.isdecimal() and len(after) < 16) or int(after) > len(self.entries):
            raise BadUserInput("The cursor is not one of this stream.", reason="CURSOR")
        return int(after)

    def waiting(self, position: int) -> int:
        """The bytes of the answer that stand after a position."""
        return self.size - self._sizes[position]

    async def more(self, position: int, leave: Leave | None = None) -> None:
        """Wait until something stands after a position, or nothing ever will, or it is time to leave."""
        if len(self.entries) > position or self.ended is not None or (leave is not None and leave.reason is not None):
            return
        await woken(self._grown, *([] if leave is None else [leave]))


async def read_entries(log: StreamLog, position: int = 0) -> AsyncIterator[Entry]:
    """Every entry after a position, as it is appended, to the end; the end itself even where it stands before."""
    if log.ended is not None:
        position = min(position, len(log.entries) - 1)
    while True:
        await log.more(position)
        for entry in log.entries.after(position):
            position = entry.seq
            yield entry
            if isinstance(entry.event, Ended):
                return


async def read_events(
    log: StreamLog,
    after: str | None,
    *,
    coalesce: float,
    max_waiting: int,
    slow_after: float = 0.0,
    leave: Leave | None = None,
    replayed: bool = False,
) -> AsyncIterator[Event]:
    """The graph's events after a cursor, deltas that came together merged, to the end.

    Leading edge: an event goes out at once if ``coalesce`` seconds have passed since the last one, else it waits for
    the rest of that time and takes with it what has come. With 0, every event goes out by itself.

    A reader that did not come back for ``slow_after`` seconds, while more than ``max_waiting`` bytes came to wait for
    it, gets ``Detached``; so does everybody who is told to ``leave``, after what has come by then. One that comes after
    the end is told the end again. For one that attaches to what was begun before, ``Started`` says ``replayed``.
    """
    position = log.position(after)
    if log.ended is not None:
        position = min(position, len(log.entries) - 1)
    clock = asyncio.get_running_loop().time
    away, sent = 0.0, clock() - coalesce
    began, behind = position, False
    while True:
        if position > began and away >= slow_after and log.waiting(position) > max_waiting:
            yield Detached(cursor=str(position), reason=DetachReason.SLOW)
            return
        await log.more(position, leave)
        reason = None if leave is None else leave.reason
        rest = sent + coalesce - clock()
        if reason is None and coalesce and rest > 0 and log.ended is None and not behind:
            await asyncio.sleep(rest)
        batch = log.entries.after(position)
        position += len(batch)
        behind = position < len(log.entries)
        sent = clock()
        for event in _merged(batch) if coalesce else _meant(batch):
            yield _replayed(event) if replayed and isinstance(event, Started) else event
            if isinstance(event, Ended):
                return
        if reason is not None and not behind:
            yield Detached(cursor=str(position), reason=reason)
            return
        away = clock() - sent
        sent = clock()


def _replayed(event: Started) -> Started:
    return Started(
        cursor=event.cursor,
        stream_id=event.stream_id,
        run_id=event.run_id,
        user_message=event.user_message,
        resumable=event.resumable,
        replayed=True,
    )


def _meant(batch: list[Entry]) -> list[Event]:
    """The events that mean something in the graph."""
    return [entry.event for entry in batch if not isinstance(entry.event, Raw)]


def _merged(batch: list[Entry]) -> list[Event]:
    events: list[Event] = []
    for event in _meant(batch):
        joined = merge(events[-1], event) if events else None
        if joined is None:
            events.append(event)
        else:
            events[-1] = joined
    return events
