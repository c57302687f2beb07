"""HTTP connections of the server: bounds, timeouts and the order of answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send

from app.connections import bounded as connection_module
from app.connections import idle_connections
from app.connections.bounded import HELD_BYTES, LINGER_BYTES
from app.connections.heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_READ_HEADER_BYTES
from tests.support.rawhttp import Raw, raw, statuses_of
from tests.support.serving import served
from tests.support.settings import settings_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
bound = pytest.mark.bound
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = 8 * 2**20
KERNELS_BYTES = 12 * 2**20
"""More than the kernel keeps of a connection on loopback."""


@dataclass
class App:
    """An application.

    ``/echo`` answers with the body, ``/big`` with a large one, and ``/headers`` with the names of the headers once the
    body is complete. ``/endless`` goes on until the client leaves, ``/early`` answers without reading, and ``/waits``
    when it is told to.
    """

    began: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        path = scope["path"]
        self.began.append(path)
        if path == "/endless":
            await self._endless(path, receive, send)
            return
        body = b"" if path == "/early" else await self._body(path, receive)
        if path == "/waits":
            await self.go_on.wait()
        if path == "/big":
            body = b"x" * BIG
        if path == "/headers":
            body = b",".join(name for name, _ in scope["headers"])
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, path: str, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._left(path)
                return body
            body, more = body + message["body"], message["more_body"]
        return body

    async def _endless(self, path: str, receive: Receive, send: Send) -> None:
        async def flood() -> None:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                await asyncio.sleep(0)

        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        flooding = asyncio.create_task(flood())
        while (await receive())["type"] != "http.disconnect":
            pass
        flooding.cancel()
        self._left(path)

    def _left(self, path: str) -> None:
        self.left.append(path)
        self.ended.set()


@dataclass
class Site:
    app: App
    address: tuple[str, int]

    @asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[Raw]:
        async with raw(self.address, **options) as connection:
            yield connection

    async def exchanged(self, *pieces: bytes) -> bytes:
        """Send pieces one after another and return all answers. The last request closes the connection."""
        async with self.connected() as connection:
            for piece in pieces:
                await connection.send(piece)
                await asyncio.sleep(0.01)
            return await connection.rest()


@asynccontextmanager
async def sited(**settings: Any) -> AsyncIterator[Site]:
    app = App()
    async with served(app, settings_of(**settings)) as url:
        yield Site(app, ("127.0.0.1", int(url.rpartition(":")[2])))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with sited() as running:
        yield running


def padded(size: int, start: bytes = HEAD + b"Connection: close\r\n") -> bytes:
    """Return a head of this size in bytes."""
    filling = size - len(start) - len(b"X: \r\n\r\n")
    return start + b"X: " + b"x" * filling + b"\r\n\r\n"


def halves(data: bytes) -> tuple[bytes, ...]:
    return data[: len(data) // 2], data[len(data) // 2 :]


def but_the_end(data: bytes) -> tuple[bytes, ...]:
    return data[:-2], data[-2:-1], data[-1:]


def whole(data: bytes) -> tuple[bytes, ...]:
    return (data,)


@bound("head")
@pytest.mark.parametrize("split", [whole, halves, but_the_end])
async def test_a_head_is_bounded_in_any_packets(site: Site, split: Callable[[bytes], tuple[bytes, ...]]) -> None:
    at = await site.exchanged(*split(padded(MAX_HEAD_BYTES)))
    past = await site.exchanged(*split(padded(MAX_HEAD_BYTES + 1)))
    assert (statuses_of(at), statuses_of(past)) == ([200], [431])
    assert b"x-content-type-options: nosniff" in past
    assert b"connection: close" in past


async def test_the_bound_on_heads_does_not_count_bodies(site: Site) -> None:
    start = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n"
    first, second = padded(40_000, start) + b"b" * 40_000, padded(MAX_HEAD_BYTES)
    answers = await site.exchanged(first + second)
    assert statuses_of(answers) == [200, 200]
    assert statuses_of(await site.exchanged(first + padded(MAX_HEAD_BYTES + 1))) == [200, 431]


async def test_line_ends_before_a_request_count_as_its_head(site: Site) -> None:
    end = HEAD + b"Connection: close\r\n\r\n"
    assert statuses_of(await site.exchanged(b"\r\n" * 9 + end)) == [200]
    assert statuses_of(await site.exchanged(b"\r\n" * 40_000 + end)) == [431]


@bound("trailers")
@pytest.mark.parametrize("split", [whole, halves, but_the_end])
async def test_trailers_are_bounded_with_the_head(site: Site, split: Callable[[bytes], tuple[bytes, ...]]) -> None:
    start = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    room = MAX_HEAD_BYTES - len(start) - len(b"X: \r\n")
    for size, status in ((room, 200), (room + 1, 431)):
        trailers = b"X: " + b"x" * size + b"\r\n"
        answer = await site.exchanged(start, *split(b"4\r\nbody\r\n0\r\n" + trailers + b"\r\n"))
        assert statuses_of(answer) == [status]
        assert answer.endswith(b"\r\n\r\nbody") is (status == 200)


async def test_chunk_extensions_count_as_the_head_and_chunks_do_not(site: Site) -> None:
    start = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    chunks = b"1\r\nx\r\n" * 30_000
    assert statuses_of(await site.exchanged(start + chunks + b"0\r\n\r\n")) == [200]
    assert statuses_of(await site.exchanged(start + b"1;extension\r\nx\r\n" * 9000 + b"0\r\n\r\n")) == [431]


async def test_trailers_are_not_passed_as_headers(site: Site) -> None:
    request = CHUNKED.replace(b"/echo", b"/headers") + b"0\r\nAuthorization: Bearer x\r\nExpect: 100-continue\r\n\r\n"
    answer = await site.exchanged(request, HEAD + b"Connection: close\r\n\r\n")
    assert statuses_of(answer) == [200, 200]
    assert b"authorization" not in answer


@bound("headers")
async def test_headers_are_bounded_in_number(site: Site) -> None:
    start = HEAD + b"Connection: close\r\n"
    for count, status in ((MAX_HEADERS, 200), (MAX_HEADERS + 1, 431)):
        assert statuses_of(await site.exchanged(start + b"X: y\r\n" * (count - 2) + b"\r\n")) == [status]


@bound("read-header")
@pytest.mark.parametrize("name", [b"Accept", b"content-type", b"X-Forwarded-For"])
async def test_headers_that_the_gateway_parses_are_bounded_over_all_lines(site: Site, name: bytes) -> None:
    half = name + b": " + b"," * (MAX_READ_HEADER_BYTES // 2 - 1) + b"\r\n"
    for more, status in ((b"", 200), (b",", 431)):
        head = HEAD + b"Connection: close\r\n" + half + half.replace(b"\r\n", more + b"\r\n") + b"\r\n"
        answer = await site.exchanged(head)
        assert statuses_of(answer) == [status]
        assert (b"The header " + name.lower() in answer) is (status == 431)
    other = b"Cookie: " + b"c" * 9000 + b"\r\n"
    assert statuses_of(await site.exchanged(HEAD + b"Connection: close\r\n" + other + b"\r\n")) == [200]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xff\r\n", 400),
        (b"GET /socket HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n", 400),
        (b"GET / HTTP/1.0\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost:\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: x \t\r\n", 200),  # not a part of the value (RFC 9110, 5.5)
        (b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: xn--mnchen-3ya.example:1\r\n", 200),
    ],
)
async def test_a_request_needs_exactly_one_valid_host(site: Site, head: bytes, status: int) -> None:
    answer = await site.exchanged(head + b"Connection: close\r\n\r\n" if b"upgrade" not in head else head + b"\r\n")
    assert statuses_of(answer) == [status]
    assert (b"nosniff" in answer) is (status != 200)


async def test_pipelined_requests_are_answered_in_order_and_one_at_a_time(site: Site) -> None:
    bodies = [b"one", b"", b"three\r\n\r\n", b"four"]
    sized = b"".join(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies)
    chunked = CHUNKED + b"5;a=b\r\n\r\n\r\nx\r\n2\r\nyz\r\n0\r\nTrailer: t\r\n\r\n"
    stream = sized + chunked + HEAD + b"\r\n" + CHUNKED + b"0\r\n\r\n" + HEAD + b"Connection: close\r\n\r\n"
    expected = b"".join([*bodies, b"\r\n\r\nxyz"])
    for size in (64, len(stream)):
        answers = await site.exchanged(*(stream[at : at + size] for at in range(0, len(stream), size)))
        assert statuses_of(answers) == [200] * 8
        parts = answers.split(b"HTTP/1.1 200 OK\r\n")[1:]
        assert b"".join(part.partition(b"\r\n\r\n")[2] for part in parts) == expected


async def test_an_unsupported_upgrade_is_ignored(site: Site) -> None:
    inner = b"GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
    upgrade = b"Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n"
    sized = b"POST /echo HTTP/1.1\r\n" + upgrade + b"Content-Length: %d\r\n\r\n" % len(inner)
    chunked = b"POST /echo HTTP/1.1\r\n" + upgrade + b"Transfer-Encoding: chunked\r\n\r\n"
    for request in (sized + inner, chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)):
        answer = await site.exchanged(request)
        assert statuses_of(answer) == [200]
        assert answer.endswith(inner)
    assert "/inner" not in site.app.began


async def test_an_answer_before_the_end_of_the_body_closes_and_can_be_read(site: Site) -> None:
    async with site.connected() as connection:
        await connection.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n")
        await connection.send(b"x" * 3_000_000)
        status, headers, _ = await connection.answer()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert await connection.rest() == b""


async def test_an_unread_complete_body_keeps_the_connection(site: Site) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    answers = await site.exchanged(early + early + HEAD + b"Connection: close\r\n\r\n")
    assert statuses_of(answers) == [200, 200, 200]


@pytest.mark.parametrize("end", [b"0\r\n" + b"X: y\r\n" * 20_000, b"no length\r\n"])
async def test_an_invalid_body_is_refused_and_disconnects_the_application(site: Site, end: bytes) -> None:
    site.app.ended.clear()
    answer = await site.exchanged(CHUNKED + b"4\r\nbody\r\n", end)
    assert statuses_of(answer) == [431 if len(end) > 99 else 400]
    await site.app.ended.wait()
    assert site.app.left[-1] == "/echo"


@bound("ahead")
async def test_few_pipelined_bytes_are_read_before_the_answer(site: Site) -> None:
    """At most the bound is read; the rest remains with the client, whatever its size."""
    small, rest = HEAD + b"\r\n", HEAD + b"Connection: close\r\n\r\n"
    async with site.connected() as connection:
        await connection.send(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n" + small * (HELD_BYTES // len(small)) + rest)
        site.app.go_on.set()
        assert statuses_of(await connection.rest()) == [200] * (HELD_BYTES // len(small) + 2)
    site.app.go_on.clear()
    async with site.connected() as connection:
        connection.writer.write(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n" + small * (64 * 2**20 // len(small)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.writer.drain(), 0.5)
        connection.writer.transport.abort()
    site.app.go_on.set()


async def taken_until_reset(connection: Raw, size: int, seconds: float = 0.0) -> int:
    """Send pieces until the server resets the connection. Return the number of bytes sent."""
    sent = 0
    with suppress(ConnectionError):
        while True:
            connection.writer.write(b"x" * size)
            await connection.writer.drain()
            sent += size
            await asyncio.sleep(seconds)
    return sent


@bound("unread-body")
async def test_bytes_after_an_early_answer_are_dropped_up_to_a_bound(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 50)
    async with site.connected() as connection:
        await connection.send(early)
        assert (await connection.answer())[0] == 200
        sent = await taken_until_reset(connection, 65536)
        assert LINGER_BYTES <= sent < LINGER_BYTES + KERNELS_BYTES
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", 0.3)
    async with site.connected() as connection:
        await connection.send(early)
        assert (await connection.answer())[0] == 200
        assert await taken_until_reset(connection, 1, 0.05) < 99


@bound("head-time")
async def test_a_connection_without_a_head_in_time_is_closed() -> None:
    async with sited(request_timeout=0.5) as site:
        async with site.connected() as silent, site.connected() as trickling, site.connected() as second:
            drip = asyncio.create_task(trickling.trickle(b"GET / HTTP/1.1\r\nX: " + b"x" * 999))
            await second.send(HEAD + b"\r\nGET / HT")
            assert await silent.rest() == b""
            assert statuses_of(await trickling.rest()) == [408]
            assert statuses_of(await second.rest()) == [200, 408]
            await drip
        at = await site.exchanged(HEAD, b"Connection: close\r\n\r\n")
        assert statuses_of(at) == [200]


@bound("connections")
async def test_a_connection_past_the_bound_closes_the_longest_idle_one() -> None:
    async with sited(max_connections=3) as site, AsyncExitStack() as stack:
        busy, first, second = [await stack.enter_async_context(site.connected()) for _ in range(3)]
        await busy.send(b"GET /waits HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for one in (first, second, first):
            await one.send(HEAD + b"\r\n")
            assert (await one.answer())[0] == 200
        third = await stack.enter_async_context(site.connected())
        assert await second.rest() == b""
        await third.send(HEAD + b"\r\n")
        await first.send(HEAD + b"Connection: close\r\n\r\n")
        assert [(await one.answer())[0] for one in (third, first)] == [200, 200]
        site.app.go_on.set()
        assert (await busy.answer())[0] == 200


@bound("heads")
@pytest.mark.parametrize("past", [0, 1])
async def test_incomplete_heads_are_bounded_together(past: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_connections, "MAX_HEADS_BYTES", 3 * 1000)
    part = HEAD + b"X: " + b"x" * (1000 - len(HEAD) - 3)
    async with sited() as site, AsyncExitStack() as stack:
        idle, first, second, third = [await stack.enter_async_context(site.connected()) for _ in range(4)]
        for one in (first, second):
            await one.send(part)
            assert statuses_of(await site.exchanged(HEAD, b"Connection: close\r\n\r\n")) == [200]  # it has been read
        await third.send(part + b"x" * past)
        if past:
            assert await first.rest() == b""
        for one in [idle, second, third] if past else [idle, first, second, third]:
            await one.send((b"" if one is not idle else HEAD + b"X: x") + b"\r\nConnection: close\r\n\r\n")
            assert statuses_of(await one.rest()) == [200]


async def test_a_new_connection_is_closed_if_all_others_are_busy() -> None:
    async with sited(max_connections=1) as site, site.connected() as busy:
        await busy.send(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        while "/waits" not in site.app.began:
            await asyncio.sleep(0)
        async with site.connected() as other:
            assert await other.rest() == b""
        site.app.go_on.set()
        assert (await busy.answer())[0] == 200


@bound("idle-time")
async def test_an_idle_connection_is_closed(site: Site) -> None:
    async with site.connected() as connection:
        for _ in range(2):
            await connection.send(HEAD + b"\r\n")
            assert (await connection.answer())[0] == 200
        assert await connection.rest() == b""


async def test_a_half_closed_incomplete_request_is_closed(site: Site) -> None:
    async with site.connected() as connection:
        await connection.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        connection.writer.write_eof()
        assert await connection.rest() == b""


@bound("write-time")
@pytest.mark.parametrize("path", ["/big", "/endless"])
async def test_a_client_that_does_not_read_is_disconnected(path: str) -> None:
    async with sited(write_timeout_seconds=0.4) as site, site.connected(receive_buffer=4096) as connection:
        connection.pause_reading()
        await connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await connection.gone()
        if path == "/endless":
            await site.app.ended.wait()


@bound("write-time")
async def test_a_slow_client_that_keeps_reading_gets_everything() -> None:
    async with sited(write_timeout_seconds=0.4) as site, site.connected(receive_buffer=65536) as connection:
        await connection.send(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        read = bytearray()
        while data := await connection.reader.read(65536):
            read += data
            await asyncio.sleep(0.005)
        assert read.endswith(b"\r\n\r\n" + b"x" * BIG)
