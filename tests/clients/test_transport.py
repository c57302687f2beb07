from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme

from clients.transport import AiohttpTransport


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

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, AiohttpTransport]]:
    served = trusted = None
    if request.param:
        authority = trustme.CA()
        served, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(served)
        authority.configure_trust(trusted)
    transport = AiohttpTransport(limit=10, tls=trusted)
    async with slow_server(served) as url:
        yield url, transport
        await transport.aclose()


async def test_cancelled_calls_leave_no_slot_taken(target: tuple[str, AiohttpTransport]) -> None:
    url, transport = target
    client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(5, pool=30))
    chance = random.Random(1)
    outcomes = {"done": 0, "cancelled": 0}

    async def call() -> None:
        try:
            # some wait for as long as it takes: on a machine that is busy, none of the others may be done in time
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


async def test_a_full_pool_is_a_pool_timeout(target: tuple[str, AiohttpTransport]) -> None:
    url, transport = target
    client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(5, pool=0.01))
    open_ = [await client.send(client.build_request("GET", url), stream=True) for _ in range(10)]
    with pytest.raises(httpx.PoolTimeout):
        await client.get(url)
    for response in open_:
        await response.aclose()
    assert transport.in_use == 0
    assert (await client.get(url)).status_code == 200


@asynccontextmanager
async def raw_server(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if hold:
            await left.wait()
        writer.transport.abort() if not answer else writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
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
    transport = AiohttpTransport()
    async with raw_server(answer, hold=hold) as url:
        client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(5, read=0.2))
        with pytest.raises(error):
            await client.get(url)
        assert transport.in_use == 0
        await transport.aclose()


async def test_a_large_body_goes_out_whole() -> None:
    body = bytes(range(256)) * 2000
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await reader.readexactly(len(body)))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    transport = AiohttpTransport()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await httpx.AsyncClient(transport=transport).post(url, content=body)).status_code == 204
        await transport.aclose()
    assert b"content-length: 512000" in seen[0].lower()
    assert b"transfer-encoding" not in seen[0].lower()
    assert seen[1] == body


async def test_a_body_that_is_not_taken_is_a_write_timeout() -> None:
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await left.wait()
        writer.transport.abort()

    transport = AiohttpTransport()
    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(30, write=0.1))
        with pytest.raises(httpx.WriteTimeout):
            await client.post(url, content=b"x" * 64_000_000)
        assert transport.in_use == 0
        left.set()
        await transport.aclose()


async def test_nobody_listening_is_a_connect_error() -> None:
    transport = AiohttpTransport()
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient(transport=transport).get("http://127.0.0.1:1/")
    assert transport.in_use == 0
    await transport.aclose()


async def test_a_cookie_of_one_answer_is_not_sent_with_the_next_call() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            seen.append(head.lower())
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    transport = AiohttpTransport()
    async with await asyncio.start_server(quiet, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            await transport.handle_async_request(httpx.Request("GET", url))
        await transport.aclose()
    assert len(seen) == 2
    assert b"cookie" not in b"".join(seen)
