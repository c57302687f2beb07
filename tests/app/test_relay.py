"""Stream bytes as ``/v1`` writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rest.relay import chunks_of
from resolvers.streams.events import Entry, Raw
from resolvers.streams.merging import MAX_FRAME_BYTES

sizes = st.one_of(st.integers(0, 300), st.integers(0, 3 * MAX_FRAME_BYTES))


def batch(some: list[int]) -> list[Entry]:
    return [Entry(seq, Raw(), bytes([seq % 256]) * size) for seq, size in enumerate(some, 1)]


@given(st.lists(sizes, max_size=20))
def test_chunks_are_bounded_and_keep_all_bytes(some: list[int]) -> None:
    entries = batch(some)
    chunks = list(chunks_of(entries))
    assert b"".join(chunks) == b"".join(entry.raw for entry in entries)
    assert all(0 < len(chunk) <= MAX_FRAME_BYTES for chunk in chunks)


@pytest.mark.parametrize(("some", "count"), [([], 0), ([0, 0], 0), ([100] * 50, 1), ([MAX_FRAME_BYTES, 1], 2)])
def test_small_events_share_a_chunk(some: list[int], count: int) -> None:
    assert len(list(chunks_of(batch(some)))) == count


def test_a_large_event_keeps_its_place() -> None:
    entries = batch([10, 2 * MAX_FRAME_BYTES, 10])
    assert b"".join(chunks_of(entries)) == b"\x01" * 10 + b"\x02" * (2 * MAX_FRAME_BYTES) + b"\x03" * 10
