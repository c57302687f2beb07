"""One stream's events, in memory: appended once, read from any cursor by any number of readers.

A reader is a position in the log. What waits for a slow one is joined when it comes back, a frame at a time, and past a
bound it is detached. The log knows its readers' positions, so that a source need not be read ahead of all of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Self

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.streams.entries import Entries
from resolvers.streams.events import Detached, DetachReason, Ended, Entry, Event, MessageAdded, Raw, Started
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


class Reader:
    """A reader of a log, for as long as the context lasts. ``position`` is how many entries it has taken."""

    __slots__ = ("_log", "position")

    def __init__(self, log: StreamLog, position: int) -> None:
        self._log = log
        self.position = position

    def __enter__(self) -> Self:
        """Be counted."""
        self._log.join(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Be counted no longer."""
        self._log.leave(self)


class StreamLog:
    """An append-only log that ends with exactly one ``Ended``.

    ``let_go`` says whether a reader was detached since the last one attached: it may come back.
    """

    __slots__ = ("_grown", "_read", "_readers", "ended", "entries", "let_go", "messages", "started")

    def __init__(self) -> None:
        self.entries = Entries()
        self.started: Started | None = None
        self.ended: Ended | None = None
        self.messages: list[MessageAdded] = []
        self.let_go = False
        self._readers: set[Reader] = set()
        self._grown = Waiters()
        self._read = Waiters()

    @property
    def weight(self) -> int:
        """The bytes it takes in memory, about."""
        return self.entries.weight

    @property
    def size(self) -> int:
        """The bytes of the answer: its text in UTF-8, reasoning and arguments included, and its messages."""
        return self.entries.size

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
        if self._readers and self.entries.may_pack:
            self.entries.pack_taken(min(reader.position for reader in self._readers))
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
            raise BadUserInput("The cursor does not belong to this stream.", reason=Reason.CURSOR)
        return int(after)

    def waiting(self, position: int) -> int:
        """The bytes of the answer that stand after a position."""
        return self.entries.size_after(position)

    async def more(self, position: int, leave: Leave | None = None) -> None:
        """Wait until something stands after a position, or nothing ever will, or it is time to leave."""
        if len(self.entries) > position or self.ended is not None or (leave is not None and leave.reason is not None):
            return
        await woken(self._grown, *([] if leave is None else [leave]))

    async def end(self) -> Ended:
        """Wait for the end. Who waits for it counts as a reader that is never behind."""
        with self.reading(sys.maxsize):
            while self.ended is None:
                await woken(self._grown)
        return self.ended

    def reading(self, position: int) -> Reader:
        """A reader, who moves its ``position`` by ``moved``, for as long as the context lasts."""
        return Reader(self, position)

    def join(self, reader: Reader) -> None:
        """Count a reader."""
        self._readers.add(reader)
        self._read.wake()

    def leave(self, reader: Reader) -> None:
        """Count a reader no longer."""
        self._readers.remove(reader)
        self._read.wake()

    def moved(self, reader: Reader, position: int) -> None:
        """A reader has taken all entries up to a position."""
        reader.position = position
        if self._read:
            self._read.wake()

    @property
    def lead(self) -> int:
        """The bytes of the answer that no reader has taken yet; 0 without readers."""
        if not self._readers or not self.size:
            return 0
        return self.waiting(min(len(self.entries), max(reader.position for reader in self._readers)))

    async def caught_up(self, lead: int) -> None:
        """Wait until a reader has taken all but ``lead`` bytes of the answer, or there is none."""
        while self.lead > lead:
            await woken(self._read)


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
    """The graph's events after a cursor, deltas that came together joined, to the end.

    Leading edge: an event goes out at once if ``coalesce`` seconds have passed since the last one, else it waits for
    the rest of that time and takes with it what has come, up to ``MAX_FRAME_BYTES`` of it. With 0, every event goes out
    by itself. Between events that are there already the event loop runs, so that a long replay holds up nobody.

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
    with log.reading(position) as reader:
        while True:
            if position > began and away >= slow_after and log.waiting(position) > max_waiting:
                yield _detached(log, position, DetachReason.SLOW)
                return
            await log.more(position, leave)
            reason = None if leave is None else leave.reason
            rest = sent + coalesce - clock()
            if reason is None and coalesce and rest > 0 and log.ended is None and not behind:
                await asyncio.sleep(rest)
            events, position = _next(log, position, joined=coalesce > 0)
            log.moved(reader, position)
            waits, behind = behind, position < len(log.entries)
            away = 0.0
            for event in events:
                if waits:
                    await asyncio.sleep(0)
                waits = True
                given = clock()
                yield _replayed(event) if replayed and isinstance(event, Started) else event
                if isinstance(event, Ended):
                    return
                sent = clock()
                away = max(away, sent - given)
            if reason is not None and not behind:
                yield _detached(log, position, reason)
                return


def _next(log: StreamLog, position: int, *, joined: bool) -> tuple[list[Event], int]:
    """The events after a position that go out together, and the position after them."""
    if joined:
        return log.entries.frame(position)
    batch = log.entries.after(position)
    return [entry.event for entry in batch if not isinstance(entry.event, Raw)], position + len(batch)


def _detached(log: StreamLog, position: int, reason: DetachReason) -> Detached:
    log.let_go = True
    return Detached(cursor=str(position), reason=reason)


def _replayed(event: Started) -> Started:
    return Started(
        cursor=event.cursor,
        stream_id=event.stream_id,
        run_id=event.run_id,
        user_message=event.user_message,
        resumable=event.resumable,
        replayed=True,
    )
