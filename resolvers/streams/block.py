"""Blocks store consecutive entries of a log in little memory."""

import sys
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from resolvers.streams.events import Entry, Event, Raw, ReasoningDelta, TextDelta, ToolCallDelta
from resolvers.streams.merging import MAX_FRAME_BYTES, merged

BLOCK = 512
"""The maximum number of log entries in a block."""

BLOCK_BYTES = MAX_FRAME_BYTES
"""The maximum size of a block's text and upstream bytes, in bytes. A larger entry gets a separate block."""

ENTRY_BYTES = 256
"""The approximate overhead of an unpacked log entry, in bytes."""

PACKED_ENTRY_BYTES = 8
"""The overhead of a packed log entry outside its block, in bytes."""

_LARGE_ENTRY_BYTES = 2048
"""The average entry size, in bytes, from which entries stay unpacked. Packing large entries saves little memory."""

_SMALL_BYTES = 512
"""The maximum size of rows that are not compressed, in bytes. Compressing such rows would cost more than it saves."""

_MERGED_PER_BLOCK = 32
"""The maximum number of joined deltas that a block stores."""

_Piece = TextDelta | ReasoningDelta | ToolCallDelta | Raw
_PIECES = (TextDelta, ReasoningDelta, ToolCallDelta, Raw)
_LEVEL = 1
_ZLIB = 0x78
"""The first byte of zlib's output (RFC 1950, 2.2). Uncompressed rows never begin with this byte."""


class _Row(msgspec.Struct, array_like=True):
    """A packed log entry. ``event`` is ``None`` if the block stores the event unpacked."""

    event: _Piece | None
    raw: bytes
    mark: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Row])


class Block:
    """Consecutive entries of a log. Small entries are compressed together; large entries are stored separately.

    A block also stores its joined deltas if they are few. ``held`` is the size of text and upstream bytes.
    """

    __slots__ = ("_held", "_joined", "_kept", "_packed", "_plain", "start", "stop", "weight")

    def __init__(self, entries: list[Entry], held: int) -> None:
        self.start = self.stop = entries[0].seq - 1
        self.weight = self._held = 0
        self._plain: list[Entry] | None = None
        self._kept: dict[int, Event] = {}
        self._packed: list[bytes] = []
        self._joined: list[Entry] | None = None
        if _is_large(entries, held):
            self._plain, self.stop, self._held = entries, self.start + len(entries), held
            self.weight = (PACKED_ENTRY_BYTES + ENTRY_BYTES) * len(entries) + held
        else:
            self._joined = []
            self.add(entries, held)

    def has_room(self, entries: list[Entry], held: int) -> bool:
        """Return whether the entries fit into the block."""
        if self._plain is not None or _is_large(entries, held):
            return False
        return entries[-1].seq - self.start <= BLOCK and self._held + held <= BLOCK_BYTES

    def add(self, entries: list[Entry], held: int) -> None:
        """Pack entries, and add the entries at the block's end."""
        rows = [
            _Row(entry.event if type(entry.event) in _PIECES else None, entry.raw, entry.mark)  # type: ignore[arg-type]
            for entry in entries
        ]
        kept = {entry.seq: entry.event for entry, row in zip(entries, rows, strict=True) if row.event is None}
        self._kept.update(kept)
        encoded = _ENCODER.encode(rows)
        packed = zlib.compress(encoded, _LEVEL) if len(encoded) > _SMALL_BYTES else encoded
        self._packed.append(packed)
        self.stop += len(entries)
        self._held += held
        self.weight += PACKED_ENTRY_BYTES * len(entries) + sys.getsizeof(packed)
        self.weight += sum(ENTRY_BYTES + event.size for event in kept.values())
        if self._joined is not None:
            self.weight -= _joined_bytes(self._joined)
            self._joined = _without_raw(merged([*self._joined, *entries]))
            if len(self._joined) > _MERGED_PER_BLOCK:
                self._joined = None
            else:
                self.weight += _joined_bytes(self._joined)

    def entries(self) -> list[Entry]:
        """Unpack and return the block's entries."""
        if self._plain is not None:
            return self._plain
        found: list[Entry] = []
        for packed in self._packed:
            rows = _DECODER.decode(zlib.decompress(packed) if packed[0] == _ZLIB else packed)
            found += [
                Entry(seq, self._kept[seq] if row.event is None else row.event, row.raw, row.mark)
                for seq, row in enumerate(rows, self.start + len(found) + 1)
            ]
        return found

    def joined(self) -> list[Entry]:
        """Join consecutive deltas and return the entries."""
        return merged(self.entries()) if self._joined is None else self._joined

    def whole_events(self) -> Iterator[Event]:
        """Return the events that are neither deltas nor ``Raw``."""
        return iter(self._kept.values()) if self._plain is None else whole_events(self._plain)


def _is_large(entries: list[Entry], held: int) -> bool:
    return held > _LARGE_ENTRY_BYTES * len(entries)


def _without_raw(entries: list[Entry]) -> list[Entry]:
    return [Entry(entry.seq, entry.event) if entry.raw else entry for entry in entries]


def _joined_bytes(entries: list[Entry]) -> int:
    return sum(ENTRY_BYTES + _text_bytes(entry.event) for entry in entries if type(entry.event) in _PIECES)


def whole_events(entries: Sequence[Entry]) -> Iterator[Event]:
    """Return the events that are neither deltas nor ``Raw``."""
    return (entry.event for entry in entries if type(entry.event) not in _PIECES)


def _text_bytes(event: Event) -> int:
    """Return how many bytes of memory a delta's text uses. This is up to four times the text's size in UTF-8."""
    if isinstance(event, TextDelta):
        return sys.getsizeof(event.text)
    return sys.getsizeof(event.arguments_delta) if isinstance(event, ToolCallDelta) else 0
