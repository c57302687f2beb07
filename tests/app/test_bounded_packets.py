"""However requests are split into packets, the application gets the same requests, one after another."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.connections.bounded import Connection
from app.connections.server import server_config
from tests.support.settings import settings_of
from tests.support.transports import Transport

ODD = st.lists(
    st.sampled_from([b"\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"0", b"GET / HTTP/1.1\r\n", b"x", b"\n"]), max_size=6
)
BODIES = ODD.map(b"".join)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Generate a request, and the body that the application must get."""
    body = draw(BODIES)
    head = b"\r\n" * draw(st.integers(0, 2)) + b"POST / HTTP/1.1\r\nHost: x\r\n"
    kind = draw(st.sampled_from(["none", "sized", "chunked", "upgrade"]))
    if kind == "none":
        return head + b"\r\n", b""
    if kind != "chunked":
        upgrade = b"Upgrade: h2c\r\nConnection: Upgrade\r\n" if kind == "upgrade" else b""
        return head + upgrade + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    size = draw(st.integers(1, 9))
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    extension = draw(st.sampled_from([b"", b";a=b", b';a="b;c"']))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    trailers = b"Authorization: x\r\nHost: y\r\n" * draw(st.integers(0, 2))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n", body


async def served(packets: list[bytes], count: int) -> tuple[list[bytes], int, bytes]:
    """Send the packets of ``count`` requests. Return the bodies, the most concurrent requests, and the answers."""
    bodies: list[bytes] = []
    under_way = most = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        body, more = b"", True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            body, more = body + message["body"], message["more_body"]
        assert [name for name, _ in scope["headers"]].count(b"host") == 1
        await asyncio.sleep(0)
        bodies.append(body)
        under_way -= 1
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = server_config(app, settings_of())
    config.load()
    options: Any = {"config": config, "server_state": ServerState(), "app_state": {}}
    connection, transport = config.http_protocol_class(**options), Transport()
    assert isinstance(connection, Connection)
    connection.connection_made(transport)  # type: ignore[arg-type]
    for packet in packets:
        while not transport.reads:
            await asyncio.sleep(0)
        connection.data_received(packet)
    while connection.server_state.tasks or (len(bodies) < count and not transport.closed):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    return bodies, most, bytes(transport.sent)


@settings(max_examples=150, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_request_is_the_same_in_any_packets(stream: list[tuple[bytes, bytes]], sizes: list[int]) -> None:
    sent, at = b"".join(request for request, _ in stream), 0
    packets: list[bytes] = []
    while at < len(sent):
        size = sizes[len(packets) % len(sizes)]
        packets.append(sent[at : at + size])
        at += size
    for one in (packets, [sent]):
        bodies, most, answers = asyncio.run(served(one, len(stream)))
        assert bodies == [body for _, body in stream]
        assert most == 1
        assert answers.count(b"HTTP/1.1 204") == len(stream)
