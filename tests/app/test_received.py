"""The unparsed bytes of a connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.connections.received import Received


@given(st.lists(st.lists(st.sampled_from(b"\r\nx"), min_size=1, max_size=6).map(bytes), min_size=1, max_size=8))
def test_the_end_of_a_head_is_found_across_packets(packets: list[bytes]) -> None:
    received, taken, ends = Received(), b"", []
    for packet in packets:
        received.add(packet)
        while received.count:
            taken += bytes(received.take(received.to_end_of_head()))
            if taken.endswith(b"\r\n\r\n"):
                ends.append(len(taken))
    whole = b"".join(packets)
    assert taken == whole
    assert ends == [at for at in range(len(whole) + 1) if whole[:at].endswith(b"\r\n\r\n")]
