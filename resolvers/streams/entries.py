"""The entries of a stream's log, packed as they grow old, so that an answer of many small tokens stays small.

The newest entries are kept as they are, and so are those that a reader has not taken yet, up to a bound. Others are
packed in blocks, a few at a time: their deltas and upstream bytes encoded and compressed, everything else as it is. A
block also keeps its deltas joined, so a reader that comes late unpacks nothing. The entries themselves, each with its
own cursor, are unpacked for a reader that begins within a block, and at the OpenAI door.
"""

from __future__ import annotations

import sys
import weakref
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import msgspec

from resolvers.streams.events import Entry, Event, Raw, ReasoningDelta, TextDelta, ToolCallDelta
from resolvers.streams.merging import MAX_FRAME_BYTES, merged

BLOCK = 512
"""How many entries a block has at most."""

BLOCK_BYTES = MAX_FRAME_BYTES
"""How many bytes of text and upstream bytes a block has at most, unless it is one entry."""

ENTRY_BYTES = 256
"""What an unpacked entry takes in memory besides its text and bytes, about."""

PACKED_ENTRY_BYTES = 8
"""What a packed entry takes besides its block: its place in the sums of sizes."""

_LARGE_ENTRY_BYTES = 2048
"""From this average size on, entries are not packed: little would be saved, and compressing them takes long."""

PIECE = 16
"""How many entries are packed at a time, once every reader has taken them."""

_UNPACKED = 8
"""At least so many of the newest stay unpacked: a reader that is a little behind unpacks nothing."""

_SMALL_BYTES = 512
"""Up to this size, rows are encoded and not compressed: setting up the compression costs more than it saves."""

_MERGED_PER_BLOCK = 32
"""A block with more joined deltas than this does not keep them: interleaved deltas hardly join."""

_FRAME_ENTRIES = 16_384
"""How many entries a frame has at most, so that joining them does not hold the event loop."""

_Piece = TextDelta | ReasoningDelta | ToolCallDelta | Raw
_PIECES = (TextDelta, ReasoningDelta, ToolCallDelta, Raw)
_LEVEL = 1
_ZLIB = 0x78
"""The first byte of what zlib compresses (RFC 1950, 2.2). Rows in MessagePack are an array, which never begins so."""


class _Row(msgspec.Struct, array_like=True):
    """An entry as it is packed. Without an event, the event is kept beside the block."""

    event: _Piece | None
    raw: bytes


class _Text(str):
    """A text that can be referred to weakly."""

    __slots__ = ("__weakref__",)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Row])


class _Block:
    """Entries in a row. Small ones are packed, piece by piece, and more can be added to them.

    Their joined events are kept too, where they join well.

    Args:
        entries: the first of them.
        held: the bytes of text and upstream bytes that they hold.
    """

    __slots__ = ("_held", "_kept", "_packed", "_plain", "_told", "start", "stop", "weight")

    def __init__(self, entries: list[Entry], held: int) -> None:
        self.start = self.stop = entries[0].seq - 1
        self.weight = self._held = 0
        self._plain: list[Entry] | None = None
        self._kept: dict[int, Event] = {}
        self._packed: list[bytes] = []
        self._told: list[Event] | None = None
        if _is_large(entries, held):
            self._plain, self.stop, self._held = entries, self.start + len(entries), held
            self.weight = (PACKED_ENTRY_BYTES + ENTRY_BYTES) * len(entries) + held
        else:
            self._told = []
            self.add(entries, held)

    def has_room(self, entries: list[Entry], held: int) -> bool:
        """Whether entries that hold so many bytes can be added."""
        if self._plain is not None or _is_large(entries, held):
            return False
        return entries[-1].seq - self.start <= BLOCK and self._held + held <= BLOCK_BYTES

    def add(self, entries: list[Entry], held: int) -> None:
        """Pack entries that follow on those of the block."""
        rows = [_Row(entry.event if type(entry.event) in _PIECES else None, entry.raw) for entry in entries]  # type: ignore[arg-type]
        kept = {entry.seq: entry.event for entry, row in zip(entries, rows, strict=True) if row.event is None}
        self._kept.update(kept)
        encoded = _ENCODER.encode(rows)
        packed = zlib.compress(encoded, _LEVEL) if len(encoded) > _SMALL_BYTES else encoded
        self._packed.append(packed)
        self.stop += len(entries)
        self._held += held
        self.weight += PACKED_ENTRY_BYTES * len(entries) + sys.getsizeof(packed)
        self.weight += sum(ENTRY_BYTES + event.size for event in kept.values())
        if self._told is not None:
            self.weight -= _told_bytes(self._told)
            self._told = merged([*self._told, *_events(entries)])
            if len(self._told) > _MERGED_PER_BLOCK:
                self._told = None
            else:
                self.weight += _told_bytes(self._told)

    def entries(self) -> list[Entry]:
        """The entries again."""
        if self._plain is not None:
            return self._plain
        found: list[Entry] = []
        for packed in self._packed:
            rows = _DECODER.decode(zlib.decompress(packed) if packed[0] == _ZLIB else packed)
            found += [
                Entry(seq, self._kept[seq] if row.event is None else row.event, row.raw)
                for seq, row in enumerate(rows, self.start + len(found) + 1)
            ]
        return found

    def told(self) -> list[Event]:
        """The entries' events, joined."""
        return merged(_events(self.entries())) if self._told is None else self._told


class Entries(Sequence[Entry]):
    """A log's entries, in order.

    Attributes:
        size: the bytes of the answer that they carry.
        weight: the bytes that they take in memory, about.
        replays_raw: whether upstream bytes are kept of entries that every reader has taken.
    """

    __slots__ = (
        "_blocks",
        "_held",
        "_recent",
        "_recent_bytes",
        "_recent_start",
        "_sizes",
        "_starts",
        "_text",
        "replays_raw",
        "size",
        "weight",
    )

    def __init__(self) -> None:
        self.replays_raw = True
        self._blocks: list[_Block] = []
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
        """Add one at the end."""
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
        """Whether enough entries are unpacked to look which of them every reader has taken; not for each that comes."""
        count = len(self._recent)
        return count >= PIECE + _UNPACKED and count % _UNPACKED == 0

    def pack_taken(self, position: int) -> None:
        """Pack the older of the entries up to a position, which every reader has taken."""
        taken = min(position, len(self) - _UNPACKED)
        while taken - self._recent_start >= PIECE:
            if not self.replays_raw:
                self._drop_raw(PIECE)
            self._pack_oldest(PIECE)

    def pack(self) -> None:
        """Pack all that is left: nothing more will come, and nobody reads it now."""
        if not self.replays_raw:
            self._drop_raw(len(self._recent))
        while self._recent:
            self._pack_oldest()

    def _drop_raw(self, count: int) -> None:
        """Drop the upstream bytes of the oldest that are not packed."""
        before = sum(self._held[:count])
        self._recent[:count] = [Entry(entry.seq, entry.event) if entry.raw else entry for entry in self._recent[:count]]
        self._held[:count] = [entry.event.size for entry in self._recent[:count]]
        dropped = before - sum(self._held[:count])
        self._recent_bytes -= dropped
        self.weight -= dropped

    def _pack_oldest(self, most: int = BLOCK) -> None:
        """Pack the oldest that are not packed, into the last block where it has room for them."""
        count, held = 0, 0
        for size in self._held[:most]:
            if count and held + size > BLOCK_BYTES:
                break
            count += 1
            held += size
        entries = self._recent[:count]
        if self._blocks and self._blocks[-1].has_room(entries, held):
            block = self._blocks[-1]
            self.weight -= block.weight
            block.add(entries, held)
        else:
            block = _Block(entries, held)
            self._blocks.append(block)
            self._starts.append(block.start)
        self.weight += block.weight - held - ENTRY_BYTES * count
        del self._recent[:count], self._held[:count]
        self._recent_start = block.stop
        self._recent_bytes -= held

    def size_after(self, position: int) -> int:
        """The bytes of the answer that those after a position carry."""
        return self.size - self._sizes[position]

    @property
    def text(self) -> str:
        """The text of all text deltas, not of reasoning. Its holders share it until something is appended."""
        text = None if self._text is None else self._text()
        if text is None:
            text = _Text("".join(event.text for event in self.told() if type(event) is TextDelta))
            self._text = weakref.ref(text)
        return text

    def told(self) -> Iterator[Event]:
        """All their events, joined block by block."""
        for block in self._blocks:
            yield from block.told()
        yield from merged(_events(self._recent))

    def after(self, position: int) -> list[Entry]:
        """Return the entries after a position, one block at most; call again with the last one's for the rest."""
        if position >= self._recent_start:
            return self._recent[position - self._recent_start :]
        block = self._block_at(position)
        return block.entries()[position - block.start :]

    def frame(self, position: int) -> tuple[list[Event], int]:
        """The next events after a position, joined, with ``MAX_FRAME_BYTES`` of the answer or one entry at most.

        Returns:
            The events, and the position after them.
        """
        if position >= self._recent_start and self.size - self._sizes[position] <= MAX_FRAME_BYTES:
            entries = self._recent[position - self._recent_start :]
            return merged(_events(entries)), position + len(entries)
        stop = self._frame_stop(position)
        events: list[Event] = []
        while position < min(stop, self._recent_start):
            block = self._block_at(position)
            if position == block.start and block.stop <= stop:
                events += block.told()
            else:
                events += _events(block.entries()[position - block.start : stop - block.start])
            position = min(block.stop, stop)
        if position < stop:
            events += _events(self._recent[position - self._recent_start : stop - self._recent_start])
        return merged(events), stop

    def _frame_stop(self, position: int) -> int:
        """Where a frame that begins at a position stops: with a block, where it has a whole one."""
        end = min(len(self), position + _FRAME_ENTRIES)
        full = bisect_right(self._sizes, self._sizes[position] + MAX_FRAME_BYTES, position, end + 1) - 1
        stop = max(full, min(position + 1, end))
        if stop < self._recent_start and (start := self._block_at(stop).start) > position:
            return start
        return stop

    def _block_at(self, position: int) -> _Block:
        return self._blocks[bisect_right(self._starts, position) - 1]

    def __len__(self) -> int:
        return self._recent_start + len(self._recent)

    def __iter__(self) -> Iterator[Entry]:
        for block in self._blocks:
            yield from block.entries()
        yield from self._recent

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        """One, or a slice as of a list."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return self.after(places)[0]
        found: list[Entry] = []
        if places.step != 1:
            return [self[place] for place in places]
        while (position := places.start + len(found)) < places.stop:
            found += self.after(position)
        return found[: len(places)]


def _is_large(entries: list[Entry], held: int) -> bool:
    return held > _LARGE_ENTRY_BYTES * len(entries)


def _told_bytes(told: list[Event]) -> int:
    """The bytes that joined events take in memory, but for those that are kept beside the block anyway."""
    return sum(ENTRY_BYTES + _text_bytes(event) for event in told if type(event) in _PIECES)


def _events(entries: Iterable[Entry]) -> list[Event]:
    return [entry.event for entry in entries]


def _text_bytes(event: Event) -> int:
    """The bytes that a delta's text takes in memory: up to four times those in UTF-8."""
    if isinstance(event, TextDelta):
        return sys.getsizeof(event.text)
    return sys.getsizeof(event.arguments_delta) if isinstance(event, ToolCallDelta) else 0
