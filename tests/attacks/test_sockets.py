"""WebSocket clients that flood, hold sockets open or do not read: their cost, and how they are refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.connections.frames import SIGN_IN_BYTES
from app.embedded.people import GRACE
from app.graphql.socket_operations import MAX_OPERATIONS
from app.sockets import MAX_ANONYMOUS_PER_ADDRESS
from tests.support.attack import Target, attacked
from tests.support.rawsocket import Op, frame, raw_socket, text
from tests.support.stack import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAMES = 200_000
SETTINGS = {"WRITE_TIMEOUT_SECONDS": "1", "SOCKET_INIT_SECONDS": "30", "RATE_LIMIT_GENERAL": "0"}


FLOODS = {
    "fragments": frame(Op.TEXT, b"", fin=False) + frame(Op.CONT, fin=False) * FRAMES,
    "pings": frame(Op.PING, b"x" * 10) * FRAMES,
    "pongs": frame(Op.PONG) * FRAMES,
    "messages": text(type="pong") * (FRAMES // 4),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_anonymous_flood_of_frames_costs_little(target: Target, flood: str) -> None:
    async with target.bystander(GRACE), target.measured() as cost, raw_socket(target.address) as one:
        await one.send(FLOODS[flood])
        assert await one.closed() == (4400, "The client sent more than 100 frames before connection_init.")
    assert cost.cpu_seconds < 0.25


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_users_flood_of_frames_closes_the_socket(target: Target, flood: str) -> None:
    user = f"00000000-0000-4000-8000-{abs(hash(flood)) % 10**12:012}"
    async with target.bystander(GRACE), raw_socket(target.address) as one:
        await one.sign_in(target.token(user))
        await one.send(FLOODS[flood])
        code, reason = await one.closed()
    assert (code, reason) in {
        (4429, "The client sent too many messages. Send fewer messages per second."),
        (1009, "A message has more than 1000 frames. Send the message in fewer frames."),
    }
    assert (code == 1009) is (flood == "fragments")


async def test_a_large_message_of_an_anonymous_client_is_not_kept(target: Target) -> None:
    """A message that never ends is refused at its head, and what comes after is thrown away."""
    async with target.bystander(GRACE), target.measured() as cost, raw_socket(target.address) as one:
        await one.send(frame(Op.TEXT, b"x" * 8_000_000))
        code, reason = await one.closed()
    assert (code, "exceeds limit" in reason) == (1009, True)
    assert cost.peak_rss_bytes < 4_000_000


@pytest.mark.parametrize("depth", [254, 1000, 100_000])
@pytest.mark.parametrize("kind", ["ping", "connection_init"])
async def test_deep_nesting_closes_the_socket_with_a_reason(target: Target, kind: str, depth: int) -> None:
    payload = b'{"a":' * depth + b"1" + b"}" * depth
    message = b'{"type":"%s","payload":%s}' % (kind.encode(), payload)
    async with raw_socket(target.address) as one:
        await one.send(frame(Op.TEXT, message))
        code, reason = await one.closed()
    assert reason
    assert code == (
        1009 if len(message) > SIGN_IN_BYTES else 4403 if kind == "connection_init" and depth < 1024 else 4400
    )
    assert b"Traceback" not in target.log


@pytest.mark.parametrize("pieces", [(b"\xff",), (b"\xc3", b"("), (b'{"type":"', b"\xe2\x82")])
async def test_text_that_is_not_utf8_closes_the_socket_and_leaves_no_traceback(
    target: Target, pieces: tuple[bytes, ...]
) -> None:
    async with raw_socket(target.address) as one:
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            await one.send(frame(Op.TEXT if index == 0 else Op.CONT, piece, fin=last))
        assert await one.closed() == (1007, "A text message is not valid UTF-8.")
    async with raw_socket(target.address) as other:
        await other.send(frame(Op.TEXT, b"\xc3") + frame(Op.PING, b"a") + frame(Op.TEXT, b"{}"))
        assert (await other.closed())[0] == 1007
    async with raw_socket(target.address) as third:
        await third.send(frame(Op.TEXT, b"\xff") + frame(Op.CLOSE, (1000).to_bytes(2)))
        assert (await third.closed())[0] == 1000
    assert b"Traceback" not in target.log


async def test_frames_before_the_handshake_is_answered_leave_no_traceback(target: Target) -> None:
    handshake = (
        b"GET /graphql HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    async def hurry() -> None:
        reader, writer = await asyncio.open_connection(*target.address)
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in (handshake, b"\xff" * 400):
            writer.write(data)
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with target.bystander(GRACE):
        await asyncio.gather(*(hurry() for _ in range(50)))
    assert b"Traceback" not in target.log


async def test_a_client_that_answers_no_ping_is_disconnected(tmp_path: Path) -> None:
    async with attacked(tmp_path, STREAM_HEARTBEAT_SECONDS="0.2") as target, raw_socket(target.address) as one:
        await one.sign_in(target.token())
        assert (await one.hear())[0] is Op.PING
        assert await one.closed() == (1006, "")


async def test_compression_is_not_negotiated(target: Target) -> None:
    """An honest socket costs no compression state, and a small message cannot be a large one."""
    async with raw_socket(target.address, compresses=True) as one:
        assert one.status == 101
        assert "sec-websocket-extensions" not in one.head.lower()


async def test_anonymous_sockets_past_the_bound_evict_the_oldest(target: Target) -> None:
    async with target.bystander(GRACE), AsyncExitStack() as stack:
        held = [await stack.enter_async_context(raw_socket(target.address)) for _ in range(MAX_ANONYMOUS_PER_ADDRESS)]
        more = [await stack.enter_async_context(raw_socket(target.address)) for _ in range(20)]
        for gone in held[: len(more)]:
            assert await gone.closed() == (
                4408,
                "Closed before connection_init, because too many connections wait. Retry.",
            )
        for stays in (held[-1], more[-1]):
            await stays.sign_in(target.token())


def _queries(count: int) -> bytes:
    return b"".join(
        text(id=str(number), type="subscribe", payload={"query": "{ _service { sdl } }"}) for number in range(count)
    )


def _user(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


async def test_unread_answers_of_one_user_on_many_sockets_are_bounded(target: Target) -> None:
    """Fifteen hundred answers of 67 kB are asked for, and two hundred of them are made."""
    async with target.bystander(GRACE), target.measured() as cost, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(raw_socket(target.address, receive_buffer=4096)) for _ in range(15)]
        for one in held:
            await one.sign_in(target.token())
        for one in held:
            await one.send(_queries(MAX_OPERATIONS))
        await _settled(target)
    assert cost.peak_rss_bytes < 45_000_000


async def _settled(target: Target) -> None:
    """Wait until the number of slots in use stays almost constant."""
    counts: list[float] = []
    while len(counts) < 10 or max(counts[-10:]) - min(counts[-10:]) > 1:
        metrics = await target.metrics()
        counts.append(sum(value for _, value in metrics["agentgraph_slots_in_use"]))


async def test_unread_sockets_are_disconnected(target: Target) -> None:
    async with target.bystander(GRACE), AsyncExitStack() as stack:
        held = [await stack.enter_async_context(raw_socket(target.address, receive_buffer=4096)) for _ in range(4)]
        for number, one in enumerate(held):
            await one.sign_in(target.token(_user(number)))
            await one.send(_queries(MAX_OPERATIONS))
        for one in held:
            await until(one.cut_off, 30)
