"""Clients that hold connections, heads, trailers, pipelines and unread answers, with and without a token."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from tests.support.attack import Target
from tests.support.rawhttp import Raw, raw, statuses_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
MIB = 2**20
SETTINGS = {"REQUEST_TIMEOUT": "5", "WRITE_TIMEOUT_SECONDS": "2", "RATE_LIMIT_GENERAL": "0", "RATE_LIMIT_LLM": "0"}
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


def request(target: Target, path: str, body: object, *, headers: str = "", signed_in: bool = True) -> bytes:
    sent = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}\r\n{headers}"
    )
    if signed_in:
        head += f"Authorization: Bearer {target.token()}\r\n"
    return f"{head}\r\n".encode() + sent


def streamed(target: Target, door: str) -> bytes:
    """Return a request for a long stream."""
    say = "[[tokens=100000 delay=0]]"
    if door == "/v1":
        asked = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": say}]}
        return request(target, "/v1/chat/completions", asked)
    query = "subscription($i: CompletionInput!) { completion(input: $i) { ... on TextDelta { text } } }"
    key = f"unread-{door}-{id(object())}"
    asked_ = {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": say}]}
    body = {"query": query, "variables": {"i": asked_, "k": key}}
    return request(target, "/graphql", body, headers=f"Accept: {door}\r\n")


async def test_a_connection_is_closed_in_each_state_that_a_client_can_stop_in(target: Target) -> None:
    """Each connection is held in another way, all at once; the server closes every one of them."""

    async def held(kind: str) -> list[int]:
        async with raw(target.address) as connection:
            return statuses_of(await _held(target, connection, kind))

    kinds = {
        "silent": [],
        "line ends": [408],
        "a head byte by byte": [408],
        "a second head": [200, 408],
        "idle": [200],
        "a body byte by byte, refused": [401],
        "a body byte by byte": [408],
        "trailers byte by byte": [408],
        "half closed": [],
        "trailers, refused": [401],
    }
    async with target.bystander():
        found = await asyncio.gather(*(held(kind) for kind in kinds))
    assert dict(zip(kinds, found, strict=True)) == kinds


async def _held(target: Target, connection: Raw, kind: str) -> bytes:
    token = f"Authorization: Bearer {target.token()}\r\n".encode()
    post = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    door = post.replace(b"/graphql", b"/v1/embeddings")
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    begun, dripped = {
        "silent": (b"", b""),
        "line ends": (b"", b"\r\n"),
        "a head byte by byte": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        "a second head": (PING + b"GET /", b"x"),
        "idle": (PING, b""),
        "a body byte by byte, refused": (door + b"Content-Length: 100000\r\n\r\n", b"x"),
        "a body byte by byte": (post + token + b"Content-Length: 100000\r\n\r\n", b"x"),
        "trailers byte by byte": (post + token + chunked, b"X: y\r\n"),
        "half closed": (post + token + b"Content-Length: 100\r\n\r\n", b""),
        "trailers, refused": (door + chunked, b"X: y\r\n"),
    }[kind]
    if begun:
        await connection.send(begun)
    if kind == "half closed":
        connection.writer.write_eof()
    dripping = asyncio.create_task(connection.trickle(dripped)) if dripped else None
    read = await connection.rest()
    if dripping is not None:
        await dripping
    return read


async def test_trailers_take_no_memory_and_do_not_authorize(target: Target) -> None:
    head = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    body = json.dumps({"query": "{ viewer { id } }"}).encode()
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    async with target.bystander(), target.measured() as cost:
        for _ in range(2):
            async with raw(target.address) as connection:
                reading = asyncio.create_task(connection.rest())
                await connection.send(head + b"\r\n" + chunks)
                await connection.send(b"X-Trailer: 0123456789\r\n" * (8 * MIB // 23))
                assert statuses_of(await reading) in ([401], [431])
        async with raw(target.address) as connection:
            trailer = f"Authorization: Bearer {target.token()}\r\n\r\n".encode()
            await connection.send(head + b"Connection: close\r\n\r\n" + chunks + trailer)
            assert statuses_of(await connection.rest()) == [401]
    assert cost.peak_rss_bytes < 16 * MIB
    assert cost.cpu_seconds < 4


async def test_pipelined_requests_are_not_read_ahead(target: Target) -> None:
    """Small requests without end, sent as fast as they are taken, their answers read."""
    count = 0

    async def flood(connection: Raw) -> None:
        while not connection.writer.is_closing():
            await connection.send(PING * 2000)

    async with target.bystander(), target.measured() as cost, raw(target.address) as connection:
        flooding = asyncio.create_task(flood(connection))
        while count < 300:
            count += (await connection.reader.read(65536)).count(b"HTTP/1.1 200")
        flooding.cancel()
        connection.writer.transport.abort()
    assert cost.peak_rss_bytes < 24 * MIB


@pytest.mark.parametrize("door", ["/v1", "text/event-stream", "multipart/mixed"])
async def test_unread_streams_are_disconnected(target: Target, door: str) -> None:
    async with target.bystander(), target.measured() as cost, AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(raw(target.address, receive_buffer=4096)) for _ in range(2)]
        for connection in connections:
            connection.pause_reading()
            await connection.send(streamed(target, door))
        await asyncio.gather(*(connection.gone() for connection in connections))
    assert cost.metric("agentgraph_requests_total", status="200") >= 2
    assert cost.rss_bytes < 40 * MIB


async def test_unread_pipelined_answers_are_disconnected(target: Target) -> None:
    get = f"GET /openapi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.token()}\r\n\r\n".encode()
    async with target.bystander(), target.measured() as cost, AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(raw(target.address, receive_buffer=4096)) for _ in range(20)]
        for connection in connections:
            connection.pause_reading()
            await connection.send(get * 200)
        await asyncio.gather(*(connection.gone() for connection in connections))
    assert cost.peak_rss_bytes < 24 * MIB


ODD = {
    "Accept": [b"a," * 30_000, b"*/*;" * 15_000, b"\xff\xfe;q=\xff", b"*/*" + b";" * 60_000],
    "Content-Type": [b"application/json" + b";" * 60_000, b"application/json;" + b'"a;' * 20_000, b"\xff"],
    "Content-Encoding": [b"," * 60_000, b"\xff"],
    "Authorization": [b"Bearer " + b"x" * 60_000, b"Bearer \xff\xfe", b" " * 60_000 + b"x"],
    "Cookie": [b"a=b;" * 15_000, b"\xff"],
    "Traceparent": [b"0" * 60_000, b"\xff", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"-" * 60_000],
    "X-Request-Id": [b"x" * 60_000, b"\xff", b"a\tb"],
    "Idempotency-Key": [b"k" * 60_000, b"\xff"],
    "Origin": [b"http://localhost:" + b"1" * 60_000, b"\xff"],
    "Access-Control-Request-Headers": [b"a," * 30_000],
    "X-Forwarded-For": [b"127.0.0.1," * 6000, b"\xff"],
    "Connection": [b"a," * 30_000, b"upgrade," * 7000],
    "Host": [b"x" * 60_000, b"\xff"],
    "Last-Event-Id": [b"1" * 60_000],
}


async def test_odd_headers_are_refused_or_ignored_in_little_time(target: Target) -> None:
    """Signed in as far as the headers let it, at both doors, each value alone and in many lines."""
    graph = {"query": "{ viewer { agents { nodes { id } } } }"}
    chat = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "[[tokens=1 delay=0]]"}]}
    sent = 0
    async with target.bystander(), target.measured() as cost:
        for path, body in (("/graphql", graph), ("/v1/chat/completions", chat)):
            for name, values in ODD.items():
                for value in values:
                    for line in (value, value[:400]):
                        async with raw(target.address) as connection:
                            odd = f"{name}: ".encode() + line + b"\r\n"
                            whole = request(target, path, body, headers="Connection: close\r\n")
                            head, _, rest = whole.partition(b"\r\n")
                            await connection.send(head + b"\r\n" + odd * (9 if line is not value else 1) + rest)
                            answer = await connection.rest()
                            [status] = statuses_of(answer)
                            assert status < 500, (path, name, value[:40], answer[-300:])
                            assert b"x-content-type-options: nosniff" in answer.lower()
                            sent += 1
    assert cost.cpu_seconds < 0.03 * sent
    assert b"internal error" not in target.log


async def test_early_refusals_have_nosniff_and_json_log_lines(target: Target) -> None:
    socket = b"GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    heads = {
        b"nonsense\r\n\r\n": 400,
        b"GET /ping HTTP/1.1\r\n\r\n": 400,
        b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n": 431,
        b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 200,
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 404,
        b"DELETE /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 405,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 200,
        b"OPTIONS /graphql HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost\r\n"
        b"Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n": 200,
        b"GET /ping HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n": 200,
        socket.replace(b"/graphql", b"/nowhere") + key + b"\r\n": 403,
        socket + key + b"Sec-WebSocket-Protocol: other\r\n\r\n": 101,
        socket + b"\r\n": 400,
        socket + key.replace(b"AAAA==", b"A") + b"\r\n": 400,
        socket + key.replace(b"13", b"12") + b"\r\n": 400,
    }
    for head, status in heads.items():
        async with raw(target.address) as connection:
            await connection.send(head)
            answer = await connection.reader.readuntil(b"\r\n\r\n")
            assert statuses_of(answer) == [status]
            assert b"x-content-type-options: nosniff" in answer.lower(), head
    for line in target.log.decode().strip().splitlines():
        assert not line or isinstance(json.loads(line), dict), line
