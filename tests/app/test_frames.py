"""The frames of one socket, at each bound and above it, without a connection."""

from __future__ import annotations

import logging
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import CloseCode
from websockets.http11 import Request

from app.connections.frames import MAX_FRAGMENTS, SIGN_IN_BYTES, SIGN_IN_FRAMES, UNIT_BYTES, Breach, Frames
from app.meters import Meter
from app.shares import Holding, Shares
from clients.codes import Reason
from tests.support.rawsocket import Op, fragments, frame

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def opened(meter: Meter | None = None, max_size: int = 1_000_000, kept: Shares | None = None) -> Frames:
    """Return a socket after its handshake; with a meter, it is signed in."""
    frames = Frames(max_size, logging.getLogger("test"))
    frames.receive_data(HANDSHAKE)
    [request] = frames.events_received()
    assert isinstance(request, Request)
    frames.send_response(frames.accept(request))
    if meter is not None:
        frames.admit(meter, Holding(Shares(10 * max_size, max_size) if kept is None else kept, "ada"))
    return frames


def outcome(frames: Frames, data: bytes) -> int | None:
    """Feed bytes to a socket. Return the code that it closes with, or ``None``."""
    frames.receive_data(data)
    return None if frames.close_sent is None else frames.close_sent.code


PING = frame(Op.PING)


@pytest.mark.bound("socket-sign-in-frames")
def test_frames_before_sign_in() -> None:
    assert outcome(opened(), PING * SIGN_IN_FRAMES) is None
    assert outcome(opened(), PING * (SIGN_IN_FRAMES + 1)) == Breach.INVALID
    assert outcome(opened(), PING * SIGN_IN_FRAMES + frame(Op.CONT)) == Breach.INVALID


@pytest.mark.bound("socket-sign-in-bytes")
def test_bytes_before_sign_in() -> None:
    most = frame(Op.TEXT, b"x" * SIGN_IN_BYTES)
    assert outcome(opened(), most) is None
    assert outcome(opened(), most + frame(Op.PING, b"x")) == Breach.TOO_BIG
    assert outcome(opened(), frame(Op.TEXT, b"x" * (SIGN_IN_BYTES + 1))) == CloseCode.MESSAGE_TOO_BIG
    assert outcome(opened(), most[:20]) is None
    head_alone = frame(Op.TEXT, b"x" * (SIGN_IN_BYTES + 1))[:10]
    assert outcome(opened(), head_alone) == CloseCode.MESSAGE_TOO_BIG


@pytest.mark.bound("socket-messages")
def test_messages_after_sign_in() -> None:
    assert outcome(opened(Meter(500)), PING * 500) is None
    assert outcome(opened(Meter(500)), PING * 501) == Breach.TOO_MANY
    large = frame(Op.TEXT, b"x" * UNIT_BYTES)
    assert outcome(opened(Meter(500)), large * 250) is None
    assert outcome(opened(Meter(500)), large * 251) == Breach.TOO_MANY


def test_a_users_sockets_share_one_meter() -> None:
    meter = Meter(10)
    assert outcome(opened(meter), PING * 6) is None
    assert outcome(opened(meter), PING * 6) == Breach.TOO_MANY


@pytest.mark.bound("socket-fragments")
def test_fragments_of_one_message() -> None:
    assert outcome(opened(Meter(5000)), fragments(b"x", MAX_FRAGMENTS) * 2) is None
    assert outcome(opened(Meter(5000)), fragments(b"x", MAX_FRAGMENTS + 1)) == Breach.TOO_BIG
    between = PING + frame(Op.CONT, fin=False)
    assert outcome(opened(Meter(5000)), frame(Op.TEXT, fin=False) + between * MAX_FRAGMENTS) == Breach.TOO_BIG


def test_a_message_counts_with_all_its_fragments() -> None:
    frames = opened(Meter(5000), max_size=100_000)
    half = b"x" * 50_000
    assert outcome(frames, frame(Op.TEXT, half, fin=False) + frame(Op.CONT, half)) is None
    last = frame(Op.CONT, half + b"x")
    assert outcome(frames, frame(Op.TEXT, half, fin=False) + last) == CloseCode.MESSAGE_TOO_BIG


def test_a_compressed_frame_is_refused() -> None:
    data = bytearray(frame(Op.TEXT, zlib.compress(b"x" * 10_000_000)[:1000]))
    data[0] |= 0x40
    assert outcome(opened(Meter(5000)), bytes(data)) == CloseCode.PROTOCOL_ERROR


def test_nothing_is_parsed_after_a_breach() -> None:
    frames = opened()
    assert outcome(frames, PING * 1_000_000) == Breach.INVALID
    assert len(frames.events_received()) == SIGN_IN_FRAMES
    assert not frames.reader.buffer


KINDS = st.sampled_from([PING, frame(Op.PONG, b"ab"), frame(Op.TEXT, b"{}"), fragments(b"abc", 4)])


@given(st.lists(KINDS, max_size=30), st.lists(st.integers(1, 40), max_size=40), st.integers(1, 40))
def test_the_outcome_does_not_depend_on_packets(sent: list[bytes], cuts: list[int], burst: int) -> None:
    data = b"".join(sent)
    whole, pieces = opened(Meter(burst)), opened(Meter(burst))
    expected = outcome(whole, data)
    for size in [*cuts, len(data)]:
        if pieces.close_sent is None:
            outcome(pieces, data[:size])
        data = data[size:]
    assert (None if pieces.close_sent is None else pieces.close_sent.code) == expected
    assert [str(one) for one in pieces.events_received()] == [str(one) for one in whole.events_received()]


@pytest.mark.bound("bodies")
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("size", "code"), [(50_000, None), (50_001, Breach.TOO_MANY)])
def test_incomplete_messages_count_against_their_user(*, whole: bool, size: int, code: int | None) -> None:
    """Two sockets, each with a message that is not complete: fragments, or a frame whose end has not come."""
    shares = Shares(10**6, 100_000, unit="bytes of concurrent requests", reason=Reason.BODIES)
    sockets = [opened(Meter(500), kept=shares) for _ in range(2)]
    for one, count in zip(sockets, (50_000, size), strict=True):
        frame_of = frame(Op.TEXT, b"x" * count, fin=False) if whole else frame(Op.TEXT, b"x" * (count + 9))[:-9]
        one.receive_data(frame_of)
        one.count_memory(0)
    closed = sockets[1].close_sent
    assert (closed.code if closed else None) == code
    assert sockets[0].close_sent is None
    for one in sockets:
        one.release()
    assert shares.taken == 0


def test_small_messages_are_not_counted_and_processed_ones_are_returned() -> None:
    shares = Shares(10**6, 10**6)
    one = opened(Meter(500), kept=shares)
    one.count_memory(UNIT_BYTES)
    assert shares.taken == 0
    one.count_memory(UNIT_BYTES + 1)
    assert shares.taken == UNIT_BYTES + 1
    one.count_memory(0)
    assert shares.taken == 0
