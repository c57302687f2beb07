from __future__ import annotations

from resolvers.streams.block import ENTRY_BYTES
from resolvers.streams.entries import PIECE
from resolvers.streams.events import TextDelta
from resolvers.streams.memory import MemoryLog


def test_entries_that_readers_have_taken_are_packed() -> None:
    log, raw = MemoryLog("stream:1"), b'data: {"choices":[{"index":0,"delta":{"content":"token"}}]}\n\n'
    with log.reading(0) as reader:
        for number in range(1, 401):
            log.append(TextDelta(text="token"), raw)
            log.moved(reader, number)
    unpacked = PIECE * 2
    assert log.weight <= unpacked * (ENTRY_BYTES + len(raw) + 5) + 400 * 40
