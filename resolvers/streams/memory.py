"""A log in the memory of this process."""

from __future__ import annotations

from resolvers.streams.entries import Entries
from resolvers.streams.events import Entry, Event
from resolvers.streams.log import StreamLog


class MemoryLog(StreamLog):
    """A log whose entries are in memory, packed once every reader has taken them."""

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

    def pack(self) -> None:
        """See ``StreamLog.pack``."""
        self._entries.pack(keep_raw=self.replays_raw)

    def evict(self) -> None:
        """See ``StreamLog.evict``."""
        self._entries, self.length, self.started = Entries(), 0, None

    @property
    def size(self) -> int:
        """See ``StreamLog.size``."""
        return self._entries.size

    @property
    def weight(self) -> int:
        """See ``StreamLog.weight``."""
        return self._entries.weight

    def size_after(self, position: int) -> int:
        """See ``StreamLog.size_after``."""
        return self._entries.size_after(position)

    @property
    def text(self) -> str:
        """See ``StreamLog.text``. Callers share one string until an event is appended."""
        return self._entries.text

    async def after(self, position: int) -> list[Entry]:
        """See ``StreamLog.after``. Returns one block of entries at most."""
        return self._entries.after(position)

    async def frame(self, position: int) -> tuple[list[Entry], int]:
        """See ``StreamLog.frame``."""
        return self._entries.frame(position)

    async def joined_events(self) -> list[Event]:
        """See ``StreamLog.joined_events``."""
        return [entry.event for entry in self._entries.joined()]

    async def whole_events(self) -> list[Event]:
        """See ``StreamLog.whole_events``."""
        return list(self._entries.whole_events())
