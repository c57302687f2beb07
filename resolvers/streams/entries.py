"""The log entries in this process's memory. Old entries are packed to save memory.

Entries that every reader has taken are encoded and compressed in blocks, except the newest entries. A block also stores
its joined deltas, which most readers need.
"""

import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from resolvers.streams.block import BLOCK, BLOCK_BYTES, ENTRY_BYTES, Block, whole_events
from resolvers.streams.events import Entry, Event, TextDelta
from resolvers.streams.merging import MAX_FRAME_BYTES, merged

PIECE = 16
"""The number of entries that are packed together."""

_UNPACKED = 8
"""The minimum number of newest entries that stay unpacked, for readers that are slightly behind."""

_FRAME_ENTRIES = 16_384
"""The maximum number of entries in a frame. Joining more entries would block the event loop."""


class _Text(str):
    """A string that supports weak references."""

    __slots__ = ("__weakref__",)


class Entries:
    """A log's entries. ``size`` is the answer's size, and ``weight`` the entries' approximate memory, in bytes."""

    __slots__ = (
        "_blocks",
        "_dropped",
        "_held",
        "_recent",
        "_recent_bytes",
        "_recent_start",
        "_sizes",
        "_starts",
        "_text",
        "size",
        "weight",
    )

    def __init__(self) -> None:
        self._blocks: list[Block] = []
        self._starts: list[int] = []
        self._recent: list[Entry] = []
        self._recent_start = self._dropped = 0
        self._held: list[int] = []
        self._recent_bytes = 0
        self.weight = 0
        self.size = 0
        self._sizes = array("Q", [0])
        self._text: weakref.ref[_Text] | None = None

    def append(self, entry: Entry) -> None:
        """Add an entry at the end."""
        size = entry.event.size
        held = size + len(entry.raw)
        self._recent.append(entry)
        self._held.append(held)
        self._recent_bytes += held
        self.weight += ENTRY_BYTES + held
        self.size += size
        self._sizes.append(self.size)
        self._text = None
        if len(self._recent) >= 2 * BLOCK or self._recent_bytes >= 2 * BLOCK_BYTES:
            self._pack_oldest()

    @property
    def may_pack(self) -> bool:
        """Return whether there are enough unpacked entries to call ``pack_taken``."""
        count = len(self._recent)
        return count >= PIECE + _UNPACKED and count % _UNPACKED == 0

    def pack_taken(self, position: int, *, keep_raw: bool) -> None:
        """Compress old entries that all readers have read. Unless ``keep_raw``, delete their upstream bytes."""
        taken = min(position, len(self) - _UNPACKED)
        while taken - self._recent_start >= PIECE:
            self._pack_oldest(PIECE, keep_raw=keep_raw)

    def drop_raw(self, position: int) -> None:
        """Delete the upstream bytes of the unpacked entries up to a position."""
        for at in range(max(self._dropped, self._recent_start), position):
            place = at - self._recent_start
            entry = self._recent[place]
            if entry.raw:
                size = len(entry.raw)
                self._recent[place] = Entry(entry.seq, entry.event, mark=entry.mark)
                self._held[place] -= size
                self._recent_bytes -= size
                self.weight -= size
        self._dropped = max(self._dropped, position)

    def pack(self, *, keep_raw: bool) -> None:
        """Pack all entries of a log that has ended and has no readers."""
        while self._recent:
            self._pack_oldest(keep_raw=keep_raw)

    def _pack_oldest(self, most: int = BLOCK, *, keep_raw: bool = True) -> None:
        count, held = 0, 0
        for size in self._held[:most]:
            if count and held + size > BLOCK_BYTES:
                break
            count += 1
            held += size
        entries, kept = self._recent[:count], held
        if not keep_raw:
            entries = [Entry(entry.seq, entry.event, mark=entry.mark) if entry.raw else entry for entry in entries]
            kept = self._sizes[self._recent_start + count] - self._sizes[self._recent_start]
        if self._blocks and self._blocks[-1].has_room(entries, kept):
            block = self._blocks[-1]
            self.weight -= block.weight
            block.add(entries, kept)
        else:
            block = Block(entries, kept)
            self._blocks.append(block)
            self._starts.append(block.start)
        self.weight += block.weight - held - ENTRY_BYTES * count
        del self._recent[:count], self._held[:count]
        self._recent_start = block.stop
        self._recent_bytes -= held

    def size_after(self, position: int) -> int:
        """Return how many bytes of the answer come after a position in the log."""
        return self.size - self._sizes[position]

    @property
    def text(self) -> str:
        """The answer's text, without reasoning. Until an entry is appended, all callers get the same string object."""
        text = None if self._text is None else self._text()
        if text is None:
            text = _Text("".join(one.event.text for one in self.joined() if type(one.event) is TextDelta))
            self._text = weakref.ref(text)
        return text

    def joined(self) -> Iterator[Entry]:
        """Join consecutive deltas in each block and yield all entries."""
        for block in self._blocks:
            yield from block.joined()
        yield from merged(self._recent)

    def whole_events(self) -> Iterator[Event]:
        """Yield the events that are neither deltas nor ``Raw``."""
        for block in self._blocks:
            yield from block.whole_events()
        yield from whole_events(self._recent)

    def after(self, position: int) -> list[Entry]:
        """Return the entries after a position, at most to the end of the block at the position."""
        if position >= self._recent_start:
            return self._recent[position - self._recent_start :]
        block = self._block_at(position)
        return block.entries()[position - block.start :]

    def frame(self, position: int) -> tuple[list[Entry], int]:
        """Return the next entries and the position after these entries. Consecutive deltas are joined."""
        if position >= self._recent_start and self.size - self._sizes[position] <= MAX_FRAME_BYTES:
            recent = self._recent[position - self._recent_start :]
            return merged(recent), position + len(recent)
        stop = self._frame_stop(position)
        entries: list[Entry] = []
        while position < min(stop, self._recent_start):
            block = self._block_at(position)
            if position == block.start and block.stop <= stop:
                entries += block.joined()
            else:
                entries += block.entries()[position - block.start : stop - block.start]
            position = min(block.stop, stop)
        if position < stop:
            entries += self._recent[position - self._recent_start : stop - self._recent_start]
        return merged(entries), stop

    def _frame_stop(self, position: int) -> int:
        """Return the position at which a frame ends. If possible, a frame ends at a block's end."""
        end = min(len(self), position + _FRAME_ENTRIES)
        full = bisect_right(self._sizes, self._sizes[position] + MAX_FRAME_BYTES, position, end + 1) - 1
        stop = max(full, min(position + 1, end))
        if stop < self._recent_start and (start := self._block_at(stop).start) > position:
            return start
        return stop

    def _block_at(self, position: int) -> Block:
        return self._blocks[bisect_right(self._starts, position) - 1]

    def __len__(self) -> int:
        return self._recent_start + len(self._recent)
