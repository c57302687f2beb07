"""A log in the memory of this process."""

from resolvers.streams.entries import Entries
from resolvers.streams.events import Entry, Event
from resolvers.streams.log import StreamLog


class MemoryLog(StreamLog):
    """A log that keeps the entries in memory, and packs entries that all readers have read."""

    __slots__ = ("_entries",)

    def __init__(self, stream_id: str) -> None:
        super().__init__(stream_id)
        self._entries = Entries()

    def _store(self, entry: Entry) -> None:
        entries = self._entries
        entries.append(entry)
        if self._readers and entries.may_pack:
            taken = min(reader.position for reader in self._readers)
            entries.pack_taken(taken, keep_raw=self.replays_raw)

    def _drop_raw(self, position: int) -> None:
        """Delete upstream bytes up to a position."""
        self._entries.drop_raw(min(position, self.length))

    def pack(self) -> None:
        """Pack all entries of a log that has ended and has no readers."""
        self._entries.pack(keep_raw=self.replays_raw)

    def evict(self) -> None:
        """Remove all entries, but keep the ``Ended`` event."""
        self._entries, self.length, self.started = Entries(), 0, None

    @property
    def size(self) -> int:
        """The answer's size, in bytes."""
        return self._entries.size

    @property
    def weight(self) -> int:
        """The approximate memory of the log, in bytes."""
        return self._entries.weight

    def size_after(self, position: int) -> int:
        """Return how many bytes of the answer come after a position in the log."""
        return self._entries.size_after(position)

    @property
    def text(self) -> str:
        """The answer's text. Until an event is appended, all callers get the same string object."""
        return self._entries.text

    async def after(self, position: int) -> list[Entry]:
        """Return the entries after a position, at most to the end of the block at the position."""
        return self._entries.after(position)

    async def frame(self, position: int) -> tuple[list[Entry], int]:
        """Return the next entries and the position after these entries. Consecutive deltas are joined."""
        return self._entries.frame(position)

    async def joined_events(self) -> list[Event]:
        """Join consecutive deltas and return all events."""
        return [entry.event for entry in self._entries.joined()]

    async def whole_events(self) -> list[Event]:
        """Return the events that are neither deltas nor ``Raw``."""
        return list(self._entries.whole_events())
