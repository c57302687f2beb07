"""The entries of a log in memory. Old ones are packed, so that an answer of many small tokens takes little memory.

Entries that every reader has taken are packed in blocks, a few at a time, except the newest: deltas and upstream bytes
are encoded and compressed. A block also keeps its deltas joined: only a reader that starts within a block, or reads
upstream bytes, unpacks entries. Up to a bound, entries wait for slow readers.
"""

from __future__ import annotations

import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from resolvers.streams.block import BLOCK, BLOCK_BYTES, ENTRY_BYTES, Block, whole_events
from resolvers.streams.events import Entry, Event, TextDelta
from resolvers.streams.merging import MAX_FRAME_BYTES, merged

PIECE = 16
"""The number of entries that are packed at a time, after every reader has taken them."""

_UNPACKED = 8
"""The least number of newest entries that stay unpacked, for readers that are a little behind."""

_FRAME_ENTRIES = 16_384
"""The most entries in a frame, so that joining them does not block the event loop."""


class _Text(str):
    """A text that can have weak references."""

    __slots__ = ("__weakref__",)


class Entries:
    """A log's entries, in order. ``size`` are the bytes of the answer, ``weight`` the approximate bytes in memory."""

    __slots__ = (
        "_blocks",
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
        self._recent_start = 0
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
        """Whether to check, not at every append, which entries every reader has taken."""
        count = len(self._recent)
        return count >= PIECE + _UNPACKED and count % _UNPACKED == 0

    def pack_taken(self, position: int, *, keep_raw: bool) -> None:
        """Pack older entries before a position that every reader has reached; upstream bytes only if ``keep_raw``."""
        taken = min(position, len(self) - _UNPACKED)
        while taken - self._recent_start >= PIECE:
            self._pack_oldest(PIECE, keep_raw=keep_raw)

    def pack(self, *, keep_raw: bool) -> None:
        """Pack all entries: the log has ended and has no reader."""
        while self._recent:
            self._pack_oldest(keep_raw=keep_raw)

    def _pack_oldest(self, most: int = BLOCK, *, keep_raw: bool = True) -> None:
        """Pack the oldest unpacked entries, into the last block if it has room."""
        count, held = 0, 0
        for size in self._held[:most]:
            if count and held + size > BLOCK_BYTES:
                break
            count += 1
            held += size
        entries, kept = self._recent[:count], held
        if not keep_raw:
            entries = [Entry(entry.seq, entry.event) if entry.raw else entry for entry in entries]
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
        """The bytes of the answer after a position."""
        return self.size - self._sizes[position]

    @property
    def text(self) -> str:
        """The text of all text deltas, without reasoning. Callers share one string until an entry is appended."""
        text = None if self._text is None else self._text()
        if text is None:
            text = _Text("".join(one.event.text for one in self.joined() if type(one.event) is TextDelta))
            self._text = weakref.ref(text)
        return text

    def joined(self) -> Iterator[Entry]:
        """Yield all entries, deltas joined within blocks."""
        for block in self._blocks:
            yield from block.joined()
        yield from merged(self._recent)

    def whole_events(self) -> Iterator[Event]:
        """Yield the events that are neither deltas nor ``Raw``."""
        for block in self._blocks:
            yield from block.whole_events()
        yield from whole_events(self._recent)

    def after(self, position: int) -> list[Entry]:
        """Return the entries after a position, up to the end of its block."""
        if position >= self._recent_start:
            return self._recent[position - self._recent_start :]
        block = self._block_at(position)
        return block.entries()[position - block.start :]

    def frame(self, position: int) -> tuple[list[Entry], int]:
        """Return the next entries after a position, joined, and the position after them.

        They have ``MAX_FRAME_BYTES`` of the answer at most, unless that is one entry.
        """
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
        """Return the end of a frame that begins at a position: the end of a block, if it contains a whole one."""
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
