from __future__ import annotations

import pytest

from resolvers.streams.block import BLOCK, ENTRY_BYTES
from resolvers.streams.entries import PIECE, Entries
from resolvers.streams.events import Entry, Raw, TextDelta
from resolvers.streams.memory import MemoryLog


def test_entries_that_readers_have_taken_are_packed() -> None:
    log, raw = MemoryLog("stream:1"), b'data: {"choices":[{"index":0,"delta":{"content":"token"}}]}\n\n'
    with log.reading(0) as reader:
        for number in range(1, 401):
            log.append(TextDelta(text="token"), raw)
            log.moved(reader, number)
    unpacked = PIECE * 2
    assert log.weight <= unpacked * (ENTRY_BYTES + len(raw) + 5) + 400 * 40


@pytest.mark.parametrize("keep_raw", [True, False])
@pytest.mark.parametrize("size", [5, 5_000], ids=["small", "large"])
def test_packed_entries_keep_their_marks(keep_raw: bool, size: int) -> None:
    entries, count = Entries(), BLOCK + 10
    added = [
        Entry(seq, Raw() if seq % 7 == 0 else TextDelta(text="x" * size), b"raw", mark=seq // 2 if seq % 3 else 0)
        for seq in range(1, count + 1)
    ]
    for entry in added:
        entries.append(entry)
    entries.pack(keep_raw=keep_raw)
    found: list[Entry] = []
    while len(found) < count:
        found += entries.after(len(found))
    assert [(one.seq, one.event, one.mark) for one in found] == [(one.seq, one.event, one.mark) for one in added]
