"""The log of a stream, and the positions of its readers in this process.

One process appends to a log. Any process may read it after a cursor. The coroutines may have to fetch entries; other
methods use the entries that this process has appended or received.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Self

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.streams.events import DetachReason, Ended, Entry, Event, Started
from resolvers.streams.waiters import Waiters, woken


class Leave(Waiters):
    """Detaches readers, with a reason, while their streams continue."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: DetachReason | None = None

    def now(self, reason: DetachReason) -> None:
        """Detach every reader that has this, also those that attach later."""
        self.reason = reason
        self.wake()


class Reader:
    """A reader of a log while the context lasts. ``position`` is the number of entries that it has taken."""

    __slots__ = ("_log", "position")

    def __init__(self, log: StreamLog, position: int) -> None:
        self._log = log
        self.position = position

    def __enter__(self) -> Self:
        self._log.add_reader(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._log.remove_reader(self)


class StreamLog(ABC):
    """An append-only log of events that ends with exactly one ``Ended``.

    Attributes:
        length: the number of entries, and the position after the last one.
        reader_may_return: whether the gateway has detached a reader, with a cursor, since the last one attached.
        replays_raw: whether upstream bytes are kept of entries that every reader has taken.
    """

    __slots__ = (
        "_grown",
        "_moved",
        "_readers",
        "ended",
        "length",
        "reader_may_return",
        "replays_raw",
        "started",
        "stream_id",
    )

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        self.started: Started | None = None
        self.ended: Ended | None = None
        self.length = 0
        self.reader_may_return = False
        self.replays_raw = True
        self._readers: set[Reader] = set()
        self._grown = Waiters()
        self._moved = Waiters()

    # Appending

    def append(self, event: Event, raw: bytes = b"") -> None:
        """Add an event with the upstream bytes to pass on. Raises RuntimeError if the log has ended."""
        if self.ended is not None:
            raise RuntimeError("a stream has one end")
        self.length += 1
        self._store(Entry(self.length, event, raw))
        if type(event) is Ended:
            self.ended = event
        elif self.started is None and isinstance(event, Started):
            self.started = event
        self._grown.wake()

    @abstractmethod
    def _store(self, entry: Entry) -> None:
        """Add an entry."""

    @abstractmethod
    def pack(self) -> None:
        """Use less memory: the log has ended and has no reader."""

    @abstractmethod
    def evict(self) -> None:
        """Remove all entries and keep ``ended``."""

    # What the log holds

    @property
    @abstractmethod
    def size(self) -> int:
        """The bytes of the answer: text in UTF-8, reasoning, arguments and messages."""

    @property
    @abstractmethod
    def weight(self) -> int:
        """The approximate bytes in the memory of this process."""

    @abstractmethod
    def size_after(self, position: int) -> int:
        """The bytes of the answer after a position."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The text of the answer up to ``length``, without reasoning."""

    # Reading

    async def position(self, cursor: str | None) -> int:
        """Return the position after a cursor; 0 for ``None``. Raises BadUserInput (``CURSOR``) for an unknown one."""
        if cursor is None:
            return 0
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16) or int(cursor) > self.length:
            raise BadUserInput("The cursor does not belong to this stream.", reason=Reason.CURSOR)
        return int(cursor)

    async def more(self, position: int, leave: Leave | None = None) -> None:
        """Wait for an entry after a position, for the end, or until readers are detached."""
        if self.length > position or self.ended is not None or (leave is not None and leave.reason is not None):
            return
        await woken(self._grown, *([] if leave is None else [leave]))

    @abstractmethod
    async def after(self, position: int) -> list[Entry]:
        """Return the next entries after a position, with their upstream bytes."""

    @abstractmethod
    async def frame(self, position: int) -> tuple[list[Entry], int]:
        """Return the next entries after a position, joined, and the position after them.

        They have ``MAX_FRAME_BYTES`` of the answer at most, unless that is one entry.
        """

    @abstractmethod
    async def joined_events(self) -> list[Event]:
        """Return all events with deltas joined."""

    @abstractmethod
    async def whole_events(self) -> list[Event]:
        """Return the events that are neither deltas nor ``Raw``."""

    async def end(self) -> Ended:
        """Wait for the end, as a reader that is never behind."""
        with self.reading(sys.maxsize):
            while self.ended is None:
                await woken(self._grown)
        return self.ended

    # Readers in this process

    def reading(self, position: int) -> Reader:
        """Return a reader at a position, to be entered as a context."""
        return Reader(self, position)

    def add_reader(self, reader: Reader) -> None:
        """Add a reader."""
        self._readers.add(reader)
        self._moved.wake()

    def remove_reader(self, reader: Reader) -> None:
        """Remove a reader."""
        self._readers.remove(reader)
        self._moved.wake()

    def moved(self, reader: Reader, position: int) -> None:
        """Note that a reader has taken all entries up to a position."""
        reader.position = position
        if self._moved:
            self._moved.wake()

    @property
    def lead(self) -> int:
        """The bytes of the answer that no reader has taken yet; 0 without readers."""
        if not self._readers or not self.size:
            return 0
        return self.size_after(min(self.length, max(reader.position for reader in self._readers)))

    async def caught_up(self, lead: int) -> None:
        """Wait until a reader has taken all but ``lead`` bytes of the answer, or there are no readers."""
        while self.lead > lead:
            await woken(self._moved)
