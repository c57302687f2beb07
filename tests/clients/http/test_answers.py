"""Answers in all forms of HTTP/1.1 framing, split at every byte, and answers that are not valid."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import dataclass

import httpx
import pytest

from clients.http.connection import MAX_HEADER_BYTES, MAX_HEADERS
from clients.http.errors import IdleConnectionDropped
from clients.http.messages import Origin, RawRequest
from clients.http.transport import HttpTransport
from tests.clients.http.calling import call, request
from tests.support.rawserver import Talk, raw_server

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-next: 1\r\n\r\nok"


@dataclass(frozen=True)
class Conversation:
    """The answer to a request, and what the client makes of it."""

    answer: bytes
    status: int = 200
    body: bytes = b""
    method: str = "GET"
    is_kept: bool = True
    is_closed: bool = False
    is_split: bool = True
    headers: tuple[tuple[str, str], ...] = ()


CONVERSATIONS = {
    "length": Conversation(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello", body=b"hello", headers=(("x-a", "b"),)
    ),
    "no content": Conversation(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    "chunked": Conversation(
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n6\r\n world\r\n'
        b"0\r\nx-trailer: 1\r\nx-last: 2\r\n\r\n",
        body=b"hello world",
    ),
    "chunked, with spaces": Conversation(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", body=b"hello"
    ),
    "until close": Conversation(
        b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\nhello", body=b"hello", is_kept=False, is_closed=True
    ),
    "until close, empty": Conversation(b"HTTP/1.1 200 OK\r\n\r\n", is_kept=False, is_closed=True),
    "version 1.0": Conversation(b"HTTP/1.0 200 OK\r\n\r\nhello", body=b"hello", is_kept=False, is_closed=True),
    "version 1.0, length": Conversation(
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", body=b"hello", is_kept=False
    ),
    "version 1.0, kept": Conversation(
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello", body=b"hello"
    ),
    "close": Conversation(
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", body=b"hello", is_kept=False
    ),
    "continue": Conversation(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", body=b"ok"
    ),
    "hints": Conversation(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 9\r\n\r\n"
        b"HTTP/1.1 404 No\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        status=404,
        body=b"ok",
        headers=(("x-a", "b"), ("transfer-encoding", "chunked")),
    ),
    "head": Conversation(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", method="HEAD", is_kept=False),
    "head, with a body": Conversation(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", method="HEAD", is_kept=False
    ),
    "204": Conversation(b"HTTP/1.1 204 No Content\r\n\r\n", status=204, is_kept=False),
    "204, with a body": Conversation(
        b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", status=204, is_kept=False
    ),
    "304": Conversation(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", status=304, is_kept=False),
    "LF alone": Conversation(b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", body=b"hello"),
    "no reason": Conversation(b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", body=b"hello"),
    "empty and repeated headers": Conversation(
        b"HTTP/1.1 200 OK\r\nx-a:\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 0\r\n\r\n",
        headers=(("x-a", ""), ("set-cookie", "a=b"), ("set-cookie", "c=d"), ("content-length", "0")),
    ),
    "switching protocols": Conversation(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nbytes", status=101, is_kept=False
    ),
    "bytes after the end": Conversation(
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello" + OK, body=b"hello", is_kept=False, is_split=False
    ),
}


def splits(answer: bytes) -> list[list[bytes]]:
    """Return the answer in one piece, in two pieces at each byte, and in single bytes."""
    in_two = [[answer[:at], answer[at:]] for at in range(1, len(answer))]
    return [[answer], *in_two, [answer[at : at + 1] for at in range(len(answer))]]


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_an_answer_is_read_wherever_it_is_split(name: str) -> None:
    said = CONVERSATIONS[name]
    cases = splits(said.answer) if said.is_split else [[said.answer]]

    async def serve(talk: Talk) -> None:
        head, _ = await talk.request()
        if not head.startswith(b"OPTIONS"):
            await talk.send(*cases[int(head.split(b" ")[1][1:])])
            if said.is_closed:
                return
            await talk.request()
        await talk.send(OK)
        await talk.reader.read()

    async with raw_server(serve) as server:
        for number in range(len(cases)):
            async with HttpTransport() as transport:
                seen = await call(transport, f"{server.url}/{number}", said.method)
                assert (seen.status, seen.body) == (said.status, said.body), cases[number]
                if said.headers:
                    assert tuple(seen.headers.multi_items()) == said.headers or said.headers[0] in seen.headers.items()
                before = len(server.talks)
                again = await call(transport, server.url, "OPTIONS", extensions={})
                assert (again.status, again.body, list(again.headers)) == (200, b"ok", ["content-length", "x-next"])
                assert len(server.talks) - before == (0 if said.is_kept else 1), cases[number]


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
MALFORMED = {
    "garbage": b"nonsense\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "version": b"HTTP/9.9 200 OK\r\n\r\n",
    "status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
    "chunk size": CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "huge chunk size": CHUNKED + b"f" * 17 + b"\r\nhello",
    "chunk without an end": CHUNKED + b"5\r\nhelloworld\r\n0\r\n\r\n",
    "length and chunks": HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunks and length": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "negative length": HEAD + b"content-length: -5\r\n\r\nhello",
    "length that is no number": HEAD + b"content-length: 5, 5\r\n\r\nhello",
    "header name": HEAD + b"a b: c\r\ncontent-length: 0\r\n\r\n",
    "header without a colon": HEAD + b"abc\r\ncontent-length: 0\r\n\r\n",
    "NUL in a header": HEAD + b"a: b\0c\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_answer_is_a_protocol_error(name: str, transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(MALFORMED[name])
        await talk.reader.read()

    async with raw_server(serve) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await call(transport, server.url, read=5)


CUT = {
    "nothing": b"",
    "in the status line": b"HTTP/1.",
    "in the head": HEAD + b"content-length: 5\r\n",
    "in the body": HEAD + b"content-length: 5\r\n\r\nhel",
    "before a chunk": CHUNKED,
    "in a chunk": CHUNKED + b"5\r\nhel",
    "after a chunk": CHUNKED + b"5\r\nhello\r\n",
    "in the trailers": CHUNKED + b"0\r\nx-a: b\r\n",
    "after an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("is_reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("name", CUT)
async def test_an_answer_that_is_cut_off_is_an_error(name: str, is_reset: bool, transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(CUT[name])
        if is_reset:
            await talk.reset()

    async with raw_server(serve) as server:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as caught:
            await call(transport, server.url, read=5)
        assert not isinstance(caught.value, IdleConnectionDropped)


async def test_a_reset_does_not_end_a_body_without_a_length(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(HEAD + b"\r\nhalf")
        await talk.reset()

    async with raw_server(serve) as server:
        response = await transport.handle_async_request(request(server.url))
        chunks = aiter(response.stream)  # type: ignore[arg-type]  # an asynchronous stream
        assert await anext(chunks) == b"half"
        with pytest.raises(httpx.ReadError):
            await anext(chunks)
        await response.aclose()


def headed(count: int, length: int = 1) -> bytes:
    lines = b"".join(b"x-%03d: %b\r\n" % (index, b"a" * length) for index in range(count - 1))
    return HEAD + lines + b"content-length: 2\r\n\r\nok"


@pytest.mark.parametrize("piece", [1_000_000, 4096, 1])
async def test_heads_are_bounded(piece: int, transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        while True:
            head, _ = await talk.request()
            answer = cases[int(head.split(b" ")[1][1:])]
            for at in range(0, len(answer), piece):
                await talk.send(answer[at : at + piece])

    most = MAX_HEADER_BYTES - len("x-000")
    cases = [
        headed(MAX_HEADERS),
        headed(2, most),
        headed(MAX_HEADERS + 1),
        headed(2, most + 1),
        HEAD + b"x: " + b"a" * 20_000,
        HEAD + b"x" * 20_000,
    ]
    async with raw_server(serve) as server:
        for number in (0, 1):
            assert (await call(transport, f"{server.url}/{number}")).body == b"ok"
        for number in range(2, len(cases)):
            with pytest.raises(httpx.RemoteProtocolError):
                await call(transport, f"{server.url}/{number}", read=5)


@pytest.mark.parametrize(
    "begun",
    [HEAD + b"x: ", CHUNKED + b"0\r\nx: ", CHUNKED + b"0\r\nx", CHUNKED + b"5;a="],
    ids=["header", "value of a trailer", "name of a trailer", "chunk extension"],
)
async def test_parts_without_an_end_are_refused_early(begun: bytes, transport: HttpTransport) -> None:
    sent = 0

    async def serve(talk: Talk) -> None:
        nonlocal sent
        await talk.request()
        await talk.send(begun)
        while sent < 20_000_000:
            talk.writer.write(b"a" * 4096)
            await talk.writer.drain()
            await asyncio.sleep(0)
            sent += 4096

    async with raw_server(serve) as server:
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await call(transport, server.url, read=5)
        assert sent < 10_000_000


async def test_small_chunks_take_no_multiple_of_the_memory_of_their_content(transport: HttpTransport) -> None:
    count = 400_000

    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(CHUNKED)
        for _ in range(count // 5000):
            talk.writer.write(b"2\r\nab\r\n" * 5000)
            await talk.writer.drain()
        await talk.send(b"0\r\n\r\n")

    async with raw_server(serve) as server:
        origin = Origin("http", "127.0.0.1", server.port)
        answer = await transport.send(RawRequest(origin, "GET", b"GET / HTTP/1.1\r\nhost: a\r\n"))
        tracemalloc.start()
        try:
            body = await answer.read(1_000_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert body == b"ab" * count
        assert peak < 10_000_000


async def test_bytes_on_an_idle_connection_close_it(transport: HttpTransport) -> None:
    async def serve(talk: Talk) -> None:
        await talk.request()
        await talk.send(OK)
        if talk.number == 1:
            await talk.send(OK)
        await talk.reader.read()

    async with raw_server(serve) as server:
        await call(transport, server.url)
        await server.talks[0].reader.read()
        await call(transport, server.url)
        assert len(server.talks) == 2
