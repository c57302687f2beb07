"""A stream's log, with the readers' positions in the log.

One process appends to a log, and any process may read it. Only coroutines may fetch entries from another process.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Self

from clients.codes import Reason
from clients.errors import BadUserInput
from resolvers.streams.events import DetachReason, Ended, Entry, Event, Started
from resolvers.streams.waiters import Waiters, woken


class Leave(Waiters):
    """Detaches a connection's readers from running streams, and stores the reason.

    Attributes:
        on_change: called when ``movable`` may have changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason: DetachReason | None = None
        self.on_change: Callable[[], None] | None = None
        self._movable: list[Callable[[], bool]] = []

    @property
    def movable(self) -> int:
        """How many readers lose nothing if they are detached now and resume at another replica."""
        return sum(is_movable() for is_movable in self._movable)

    def reading(self, is_movable: Callable[[], bool]) -> Leaving:
        """Register a reader during a ``with`` block. ``is_movable`` returns whether the reader is ``movable``."""
        return Leaving(self, self._movable, is_movable)

    def changed(self) -> None:
        """Call ``on_change``."""
        if self.on_change is not None:
            self.on_change()

    def now(self, reason: DetachReason) -> None:
        """Detach this object's readers. A reader that attaches later is detached immediately."""
        self.reason = reason
        self.wake()

    def sign_out(self) -> None:
        """Detach this object's readers, because the user is no longer signed in."""
        self.now(DetachReason.SIGNED_OUT)


class Leaving:
    """The context manager of ``Leave.reading``. A class needs less memory than a generator."""

    __slots__ = ("_is_movable", "_leave", "_readers")

    def __init__(self, leave: Leave, readers: list[Callable[[], bool]], is_movable: Callable[[], bool]) -> None:
        self._leave = leave
        self._readers = readers
        self._is_movable = is_movable

    def __enter__(self) -> None:
        self._readers.append(self._is_movable)
        self._leave.changed()

    def __exit__(self, *_: object) -> None:
        self._readers.remove(self._is_movable)
        self._leave.changed()


async def _no_wait() -> None:
    pass


class Reader:
    """A context manager that registers a log's reader. ``position`` is the number of entries that were read."""

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
    """An append-only log of events that ends with exactly one ``Ended`` event.

    Attributes:
        length: the number of entries, and the position after the last one.
        on_end: called once, when readers can read the ``Ended`` event.
        reader_may_return: whether a reader that the gateway detached may return, because no reader has attached since.
        replays_raw: whether the log keeps upstream bytes after every reader has taken them.
    """

    __slots__ = (
        "_grown",
        "_moved",
        "_readers",
        "ended",
        "length",
        "on_end",
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
        self.on_end: Callable[[], None] | None = None
        self.reader_may_return = False
        self.replays_raw = True
        self._readers: list[Reader] = []
        self._grown = Waiters()
        self._moved = Waiters()

    # Appending

    def append(self, event: Event, raw: bytes = b"", mark: int = 0) -> None:
        """Add an event, with its upstream bytes and its mark. Raises RuntimeError if the log has ended."""
        if self.is_closed:
            raise RuntimeError("a stream has one end")
        self._show(event, raw, mark)

    def _show(self, event: Event, raw: bytes, mark: int) -> None:
        """Let readers read an event."""
        self.length += 1
        self._store(Entry(self.length, event, raw, mark))
        if type(event) is Ended:
            self.ended = event
            if self.on_end is not None:
                act, self.on_end = self.on_end, None
                act()
        elif self.started is None and isinstance(event, Started):
            self.started = event
        self._grown.wake()

    @property
    def is_begun(self) -> bool:
        """Return whether an event was appended, even if readers cannot read the event yet."""
        return self.length > 0

    @property
    def is_closed(self) -> bool:
        """Return whether the ``Ended`` event was appended, even if readers cannot read the event yet."""
        return self.ended is not None

    @property
    def is_whole(self) -> bool:
        """Return whether readers can read the ``Ended`` event."""
        return self.ended is not None

    @property
    def is_kept_elsewhere(self) -> bool:
        """Return whether the complete log can also be read outside of this process."""
        return False

    @abstractmethod
    def _store(self, entry: Entry) -> None:
        """Store an entry."""

    @abstractmethod
    def _drop_raw(self, position: int) -> None:
        """Delete upstream bytes up to a position, because no reader needs the bytes any longer."""

    @abstractmethod
    def pack(self) -> None:
        """Reduce the memory of a log that has ended and has no readers."""

    @abstractmethod
    def evict(self) -> None:
        """Remove all entries, but keep the ``Ended`` event."""

    # What the log holds

    @property
    @abstractmethod
    def size(self) -> int:
        """The size of the answer's text, reasoning, tool arguments and messages, in bytes."""

    @property
    @abstractmethod
    def weight(self) -> int:
        """The approximate memory that the log uses in this process, in bytes."""

    @abstractmethod
    def size_after(self, position: int) -> int:
        """Return how many bytes of the answer come after a position in the log."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The answer's text, without reasoning."""

    # Reading

    async def filled(self) -> None:  # noqa: B027 - only shared logs wait
        """Wait until this process has the entries that the log had when the stream was found."""

    def cursor(self, position: int) -> str:
        """Return the cursor of a position."""
        return str(position)

    async def position(self, cursor: str | None) -> int:
        """Return the position after a cursor, or 0 if there is no cursor. Raises BadUserInput (``CURSOR``)."""
        if cursor is None:
            return 0
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 16) or int(cursor) > self.length:
            raise BadUserInput("The cursor does not belong to this stream. Omit the cursor.", reason=Reason.CURSOR)
        return int(cursor)

    def more(self, position: int, leave: Leave | None = None) -> Coroutine[Any, Any, None]:
        """Wait for an entry after a position, the log's end, or the reader's detachment."""
        if self.length > position or self.is_whole or (leave is not None and leave.reason is not None):
            return _no_wait()
        return woken(self._grown) if leave is None else woken(self._grown, leave)

    @abstractmethod
    async def after(self, position: int) -> list[Entry]:
        """Return the next entries after a position, including the entries' upstream bytes."""

    @abstractmethod
    async def frame(self, position: int) -> tuple[list[Entry], int]:
        """Return the next entries and the position after these entries. Consecutive deltas are joined.

        The entries have at most ``MAX_FRAME_BYTES`` of the answer, unless a single entry is larger.
        """

    @abstractmethod
    async def joined_events(self) -> list[Event]:
        """Join consecutive deltas and return all events."""

    @abstractmethod
    async def whole_events(self) -> list[Event]:
        """Return the events that are neither deltas nor ``Raw``."""

    async def end(self) -> Ended:
        """Wait until the log ends. The wait does not slow the log's source."""
        with self.reading(sys.maxsize):
            while self.ended is None:
                await woken(self._grown)
        return self.ended

    # Readers in this process

    def reading(self, position: int) -> Reader:
        """Return a reader that begins at a position. Use the reader in a ``with`` statement."""
        return Reader(self, position)

    def add_reader(self, reader: Reader) -> None:
        """Add a reader."""
        self._readers.append(reader)
        self._moved.wake()

    def remove_reader(self, reader: Reader) -> None:
        """Remove a reader."""
        self._readers.remove(reader)
        self._moved.wake()

    def moved(self, reader: Reader, position: int) -> None:
        """Record that a reader has read all entries up to a position."""
        reader.position = position
        if not self.replays_raw:
            self._drop_raw(min(one.position for one in self._readers))
        if self._moved:
            self._moved.wake()

    @property
    def lead(self) -> int:
        """The number of the answer's bytes that no reader has read yet, or 0 without readers."""
        if not self._readers or not self.size:
            return 0
        return self.size_after(min(self.length, max(reader.position for reader in self._readers)))

    async def caught_up(self, lead: int) -> None:
        """Wait until a reader is at most ``lead`` bytes behind, or the log has no readers."""
        while self.lead > lead:
            await woken(self._moved)
