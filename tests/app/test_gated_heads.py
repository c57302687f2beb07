"""A head that equals the one before it is not parsed again: the application gets the same requests, and no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.connections.bounded import Connection
from app.connections.gated import MAX_HEAD_BYTES, GatedConnection
from app.connections.server import protocol, server_config
from clients.codes import Reason
from clients.errors import GatewayError, RateLimited
from tests.support.settings import settings_of
from tests.support.transports import Transport

FIELDS = ("host: x", "authorization: Bearer ada", "authorization: Bearer grace", "x-forwarded-for: 192.0.2.1")
HEADS = st.lists(st.sampled_from(FIELDS[1:]), max_size=2, unique=True)
STEPS = 30
"""The steps of the event loop in which the application answers up to three requests."""

REFUSED = RateLimited("Too many.", reason=Reason.REQUESTS, retry_after_seconds=1)


class Gate:
    """Decides nothing, or refuses each request. ``known`` is what it has stored for equal heads."""

    def __init__(self, refusal: GatewayError | None = None) -> None:
        self.answer = refusal
        self.known: list[object] = []

    def decide(self, scope: Scope) -> GatewayError | None:
        self.known.append(scope["state"].get("known"))
        scope["state"]["known"] = dict(scope["headers"]).get(b"authorization", b"nobody")
        return self.answer

    def refusal(
        self, scope: Scope, error: GatewayError, *, keep_alive: bool, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        return b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"


class Site:
    """A connection to an application that records its requests."""

    def __init__(self, gate: Gate) -> None:
        self.seen: list[tuple[list[tuple[bytes, bytes]], str, bytes]] = []
        given = settings_of()
        config = server_config(self.app, given)
        config.load()
        kind = protocol(given, gate)
        options: Any = {"config": config, "server_state": ServerState(), "app_state": {}}
        self.connection: GatedConnection = kind(**options)
        self.transport = Transport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.seen.append((list(scope["headers"]), scope["client"], body))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def send(self, packets: list[bytes]) -> None:
        """Receive packets, each after the answers to the complete requests before."""
        for packet in packets:
            self.connection.data_received(packet)
            for _ in range(STEPS):  # a request whose body is cut waits for the next packet
                if self.connection.server_state.tasks:
                    await asyncio.sleep(0)


def request(fields: Sequence[str], body: bytes) -> bytes:
    head = "\r\n".join(["POST /graphql HTTP/1.1", "host: x", *fields, f"content-length: {len(body)}", "", ""])
    return head.encode() + body


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Generate packets: requests of a few different heads, some of them cut in two or joined."""
    heads = draw(st.lists(HEADS, min_size=1, max_size=2))
    packets: list[bytes] = []
    for _ in range(draw(st.integers(1, 6))):
        one = request(draw(st.sampled_from(heads)), draw(st.binary(min_size=3, max_size=4)))
        cut = draw(st.one_of(st.just(0), st.integers(1, len(one) - 1)))
        packets += [one[:cut], one[cut:]] if cut else [one]
        if draw(st.booleans()) and len(packets) > 1:
            packets[-2:] = [packets[-2] + packets[-1]]
    return packets


@settings(max_examples=80, deadline=None)
@given(streams())
def test_equal_heads_change_nothing_for_the_application(packets: list[bytes]) -> None:
    async def seen(*, gate: bool) -> list[tuple[Any, ...]]:
        site = Site(Gate())
        if not gate:
            site.connection._gate = None  # noqa: SLF001 - the connection then parses each head
        await site.send(packets)
        return site.seen

    by_gate, parsed = asyncio.run(seen(gate=True)), asyncio.run(seen(gate=False))
    assert [(headers, body) for headers, _, body in by_gate] == [(headers, body) for headers, _, body in parsed]


async def test_an_equal_head_is_not_parsed_and_has_its_own_body() -> None:
    gate, parse = Gate(), Connection.on_headers_complete
    with patch.object(Connection, "on_headers_complete", autospec=True, side_effect=parse) as parsed:
        site = Site(gate)
        await site.send([request(["authorization: Bearer ada"], body) for body in (b"one", b"two", b"six")])
    assert parsed.call_count == 1
    assert [body for _, _, body in site.seen] == [b"one", b"two", b"six"]
    assert gate.known == [None, b"Bearer ada", b"Bearer ada"]


@pytest.mark.parametrize(
    "packets",
    [
        [request(FIELDS[1:2], b"one"), request(FIELDS[2:3], b"one")],
        [request(FIELDS[1:2], b"one"), request([FIELDS[1] + "x"], b"on")],
        [request(FIELDS[1:2], b"one"), request(FIELDS[1:2], b"four")],
        [request(FIELDS[1:2], b"one"), request(FIELDS[3:4], b"one"), request(FIELDS[1:2], b"one")],
        [request(["x: " + "y" * MAX_HEAD_BYTES], b"one")] * 2,
        [b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"] * 2,
    ],
    ids=["another user", "equal size", "another length", "between", "long", "chunked"],
)
async def test_what_the_gate_knows_belongs_to_one_head(packets: list[bytes]) -> None:
    gate = Gate()
    site = Site(gate)
    await site.send(packets)
    assert gate.known == [None] * len(packets)
    assert len(site.seen) == len(packets)


async def test_refusals_are_not_added_to_unread_data() -> None:
    gate = Gate(REFUSED)
    site = Site(gate)
    same = request(FIELDS[1:2], b"one")
    await site.send([same, same])
    assert len(gate.known) == 2
    site.connection.pause_writing()
    for _ in range(50):
        site.connection.data_received(same)
    assert len(gate.known) == 2, "the application waits until the client reads"
    site.connection.resume_writing()
    while site.transport.sent.count(b"HTTP/1.1 429") < 2 + 49:
        await asyncio.sleep(0)
    assert len(site.seen) == 1
    site.connection.connection_lost(None)


class Streams(Site):
    """An application that streams each answer, and notes what the connection holds meanwhile."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        held = self.connection
        self.seen.append((list(scope.get("headers", [])), repr((held.parser, held._head)), body))  # noqa: SLF001
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def test_a_streamed_answer_frees_the_request_and_keeps_the_connection() -> None:
    site, other = Streams(Gate()), request(["authorization: Bearer bob"], b"six")
    packets = [request([], b"one"), request([], b"two"), other[:30], other[30:], request([], b"ten")]
    await site.send(packets)
    freed: tuple[list[Any], str] = ([], repr((None, None)))
    assert site.seen == [(*freed, body) for body in (b"one", b"two", b"six", b"ten")]
    answers = bytes(site.transport.sent)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"\r\n0\r\n\r\n") == 4
    assert not site.transport.closed


async def test_a_pipelined_request_keeps_the_memory_of_the_request_before() -> None:
    site = Streams(Gate())
    await site.send([request([], b"one") + request([], b"two")])
    assert [body for _, _, body in site.seen] == [b"one", b"two"]
    assert site.seen[0][0] != []
    assert site.seen[1][0] == []
