"""The entries of a stream's log, packed as they grow old, so that an answer of many small tokens stays small.

The newest entries are kept as they are, since live readers are there. Older ones are packed a block at a time: their
deltas and upstream bytes encoded and compressed, everything else as it is. A reader that comes late unpacks a block at
a time, and gets the same entries, each with its own cursor.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from resolvers.streams.events import Entry, Raw, ReasoningDelta, TextDelta, ToolCallDelta

BLOCK = 512
"""How many entries a block packs, and the least number of newest entries that stays unpacked."""

ENTRY_BYTES = 256
"""What an unpacked entry takes in memory besides its text and bytes, about."""

PACKED_ENTRY_BYTES = 8
"""What a packed entry takes besides its block: its place in the sums of sizes."""

_Piece = TextDelta | ReasoningDelta | ToolCallDelta | Raw
_PIECES = (TextDelta, ReasoningDelta, ToolCallDelta, Raw)
_LEVEL = 1


class _Row(msgspec.Struct, array_like=True):
    """An entry as it is packed. Without an event, the event is kept beside the block."""

    event: _Piece | None
    raw: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Row])


class _Block:
    """``BLOCK`` entries, packed. ``text`` is that of their text deltas, joined."""

    def __init__(self, entries: list[Entry]) -> None:
        rows = [_Row(entry.event if type(entry.event) in _PIECES else None, entry.raw) for entry in entries]  # type: ignore[arg-type]
        self.text = text_of(entries)
        self._kept = {entry.seq: entry.event for entry, row in zip(entries, rows, strict=True) if row.event is None}
        self._packed = zlib.compress(_ENCODER.encode(rows), _LEVEL)
        self._first = entries[0].seq
        own = sum(ENTRY_BYTES + event.size for event in self._kept.values())
        self.weight = own + len(self._packed) + len(self.text) + PACKED_ENTRY_BYTES * len(entries)

    def entries(self) -> list[Entry]:
        """The entries again."""
        rows = _DECODER.decode(zlib.decompress(self._packed))
        return [
            Entry(seq, self._kept[seq] if row.event is None else row.event, row.raw)
            for seq, row in enumerate(rows, self._first)
        ]


def text_of(entries: Sequence[Entry]) -> str:
    """The text of the text deltas among them; not of reasoning."""
    return "".join(entry.event.text for entry in entries if type(entry.event) is TextDelta)


class Entries(Sequence[Entry]):
    """A log's entries, in order."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._recent: list[Entry] = []
        self._packed_weight = 0
        self._recent_weight = 0

    def append(self, entry: Entry) -> None:
        """Add one at the end."""
        self._recent.append(entry)
        self._recent_weight += _weight(entry)
        if len(self._recent) >= 2 * BLOCK:
            old = self._recent[:BLOCK]
            block = _Block(old)
            self._blocks.append(block)
            del self._recent[:BLOCK]
            self._packed_weight += block.weight
            self._recent_weight -= sum(map(_weight, old))

    @property
    def weight(self) -> int:
        """The bytes they take in memory, about."""
        return self._packed_weight + self._recent_weight

    @property
    def text(self) -> str:
        """The text of all text deltas."""
        return "".join(block.text for block in self._blocks) + text_of(self._recent)

    def after(self, position: int) -> list[Entry]:
        """Return the entries after a position, one block at most; call again with the last one's for the rest."""
        number, within = divmod(position, BLOCK)
        if number < len(self._blocks):
            return self._blocks[number].entries()[within:]
        return self._recent[position - BLOCK * len(self._blocks) :]

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._recent)

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


def _weight(entry: Entry) -> int:
    return ENTRY_BYTES + entry.event.size + len(entry.raw)
