from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import httpx
import pytest
import trustme

from clients.transport import FRESH, AiohttpTransport, IdleConnectionDropped
from tests.support.oddserver import Scripted, odd_server

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, **options: Any) -> AsyncIterator[str]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0, **options) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def slow_server(tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Answers each request in pieces, a few milliseconds apart."""
    chance = random.Random(7)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(chance.random() / 100)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n")
                for _ in range(4):
                    writer.write(b"x" * 5)
                    await writer.drain()
                    await asyncio.sleep(chance.random() / 500)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async with listening(serve, ssl=tls) as url:
        yield url.replace("http://127.0.0.1", f"{'https' if tls else 'http'}://localhost")


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, AiohttpTransport]]:
    served = trusted = None
    if request.param:
        authority = trustme.CA()
        served, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(served)
        authority.configure_trust(trusted)
    async with slow_server(served) as url, AiohttpTransport(tls=trusted) as transport:
        yield url, transport


async def test_cancelled_calls_leave_no_connection_in_use(target: tuple[str, AiohttpTransport]) -> None:
    url, transport = target
    client = httpx.AsyncClient(transport=transport, timeout=5)
    chance = random.Random(1)
    outcomes = {"done": 0, "cancelled": 0}

    async def call() -> None:
        try:
            # some have no timeout: on a busy machine, all others may be cancelled
            async with asyncio.timeout(chance.choice([None, chance.random() / 8])):
                await client.get(url)
            outcomes["done"] += 1
        except TimeoutError:
            outcomes["cancelled"] += 1

    for _ in range(10):
        await asyncio.gather(*(call() for _ in range(50)))
    assert outcomes["cancelled"] > 20
    assert outcomes["done"] > 20
    assert transport.in_use == 0
    answers = await asyncio.gather(*(client.get(url) for _ in range(10)))
    assert [answer.text for answer in answers] == ["x" * 20] * 10
    assert transport.in_use == 0


@asynccontextmanager
async def raw_server(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if hold:
            await left.wait()
        writer.transport.abort() if not answer else writer.close()

    async with listening(serve) as url:
        yield url
        left.set()


@pytest.mark.parametrize(
    ("answer", "hold", "error"),
    [
        (b"", False, (httpx.RemoteProtocolError, httpx.ReadError)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", False, httpx.RemoteProtocolError),
        (b"nonsense\r\n\r\n", False, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", True, httpx.ReadTimeout),
    ],
)
async def test_each_fault_has_its_error(answer: bytes, hold: bool, error: type[Exception]) -> None:
    async with raw_server(answer, hold=hold) as url, AiohttpTransport() as transport:
        client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(5, read=0.2))
        with pytest.raises(error):
            await client.get(url)
        assert transport.in_use == 0


async def test_a_large_body_is_sent_whole() -> None:
    body = bytes(range(256)) * 2000
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readexactly(len(body)))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with listening(serve) as url, AiohttpTransport() as transport:
        assert (await httpx.AsyncClient(transport=transport).post(url, content=body)).status_code == 204
    assert b"content-length: 512000" in seen[0].lower()
    assert b"transfer-encoding" not in seen[0].lower()
    assert seen[1] == body


async def test_a_body_that_the_server_does_not_read_is_a_write_timeout() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await left.wait()
        writer.transport.abort()

    async with listening(serve, limit=1024) as url, AiohttpTransport() as transport:
        client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(30, write=0.1))
        with pytest.raises(httpx.WriteTimeout):
            await client.post(url, content=b"x" * 64_000_000)
        assert transport.in_use == 0
        left.set()


async def test_a_refused_connection_is_a_connect_error() -> None:
    async with AiohttpTransport() as transport:
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient(transport=transport).get("http://127.0.0.1:1/")
        assert transport.in_use == 0


async def test_a_cookie_of_one_answer_is_not_sent_with_the_next_call() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head.lower())
                writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with listening(serve) as url, AiohttpTransport() as transport:
        for _ in range(2):
            await transport.handle_async_request(httpx.Request("GET", url))
    assert len(seen) == 2
    assert b"cookie" not in b"".join(seen)


class Recorder:
    """A server that answers by a script and records the requests."""

    def __init__(self, script: Callable[[int, int], Scripted]) -> None:
        self.script = script
        self.seen: list[str] = []

    def __call__(self, method: str, path: str, body: bytes) -> Scripted:
        self.seen.append(method)
        return self.script(len(self.seen), len(body))


OK = Scripted(pieces=[b"{}"])


def drops_the_second(number: int, _: int, *, reset: bool = False) -> Scripted:
    """Answer the first request and keep the connection; drop it at the second request."""
    return Scripted(raw=b"", close=True, reset=reset) if number == 2 else OK


@asynccontextmanager
async def client_of(answer: Callable[[str, str, bytes], Scripted]) -> AsyncIterator[httpx.AsyncClient]:
    async with odd_server(answer) as url, AiohttpTransport() as transport:
        yield httpx.AsyncClient(transport=transport, base_url=url, timeout=5)
        assert transport.in_use == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.parametrize("reset", [False, True])
async def test_one_request_is_one_attempt_when_an_idle_connection_is_dropped(method: str, reset: bool) -> None:
    recorder = Recorder(partial(drops_the_second, reset=reset))
    async with client_of(recorder) as client:
        assert (await client.get("/")).status_code == 200
        with pytest.raises(IdleConnectionDropped):
            await client.request(method, "/")
    assert recorder.seen == ["GET", method]


async def test_a_new_connection_that_is_dropped_was_not_idle() -> None:
    async with client_of(lambda *_: Scripted(raw=b"", close=True)) as client:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("/")
    assert not isinstance(caught.value, IdleConnectionDropped)


async def test_an_answer_that_has_begun_was_not_dropped_while_idle() -> None:
    begun = Recorder(lambda number, _: Scripted(raw=b"HTT", close=True) if number == 2 else OK)
    async with client_of(begun) as client:
        await client.get("/")
        with pytest.raises(httpx.TransportError) as caught:
            await client.get("/")
    assert not isinstance(caught.value, IdleConnectionDropped)


async def test_a_request_can_require_a_new_connection() -> None:
    recorder = Recorder(drops_the_second)
    async with client_of(recorder) as client:
        await client.get("/")
        with pytest.raises(IdleConnectionDropped):
            await client.get("/")
        assert (await client.get("/", extensions={FRESH: True})).status_code == 200
    assert recorder.seen == ["GET"] * 3


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_reset_does_not_end_a_body_without_length(streamed: bool) -> None:
    async with client_of(lambda *_: Scripted(pieces=[b"half"], framed=False, reset=True)) as client:
        response = await client.send(client.build_request("GET", "/"), stream=True)
        with pytest.raises(httpx.TransportError):
            await (response.aread() if not streamed else collect(response))
        await response.aclose()


async def collect(response: httpx.Response) -> bytes:
    return b"".join([chunk async for chunk in response.aiter_raw()])


async def test_an_orderly_close_ends_a_body_without_length() -> None:
    async with client_of(lambda *_: Scripted(pieces=[b"whole"], framed=False, close=True)) as client:
        assert (await client.get("/")).text == "whole"


@pytest.mark.parametrize("pieces", [1, 2, 10_000])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\nstray",
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nstray",
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n5\r\nstray\r\n0\r\n\r\n",
        b"HTTP/1.1 204\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\n\nstray",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
async def test_bytes_after_a_204_do_not_fail_it_and_its_connection_is_not_used_again(
    answer: bytes, pieces: int
) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(answer), pieces):
            writer.write(answer[at : at + pieces])
            await asyncio.sleep(0)
        writer.close()

    async with listening(serve) as url, AiohttpTransport() as transport:
        client = httpx.AsyncClient(transport=transport, base_url=url)
        for _ in range(2):
            response = await client.delete("/")
            assert (response.status_code, response.content) == (204, b"")
    assert connections == 2
