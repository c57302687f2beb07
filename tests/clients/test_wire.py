"""How answers are read: encodings, bounds and errors, through ``Upstream``."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from clients.calls import AnswerSize, Call, UpstreamRejected
from clients.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.wire import MAX_REFUSAL_BYTES
from tests.support.upstream_calls import answering, ask, parts, read_stream, scope, upstream_with


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("http://secret@ams"), "CONNECT"),
        (httpx.ConnectTimeout(""), "CONNECT"),
        (httpx.ReadTimeout(""), "DEADLINE"),
        (httpx.RemoteProtocolError("their words"), "CUT"),
    ],
)
async def test_each_transport_error_has_its_reason_and_a_safe_message(error: Exception, reason: str) -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        raise error

    upstream, _, _ = upstream_with(act)
    with pytest.raises((UpstreamError, UpstreamTimeout, UpstreamUnavailable)) as caught:
        await ask(upstream)
    assert caught.value.reason == reason
    assert "secret" not in caught.value.message
    assert "their words" not in caught.value.message


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_that_names_the_setting(status: int) -> None:
    upstream, _, observer = upstream_with(answering(status))
    with pytest.raises(UpstreamError) as caught:
        await ask(upstream)
    assert caught.value.message == f"AMS redirects with status {status}. Check AMS_BASE_URL."
    assert (caught.value.reason, caught.value.retryable) == ("STATUS", False)
    with pytest.raises(UpstreamError) as streamed:
        async with upstream.stream(scope(), Call(operation="x", path="/"), opens_within=1):
            pass
    assert streamed.value.message == caught.value.message
    with pytest.raises(UpstreamError) as pinged:
        await upstream.ping(scope(), "/health")
    assert pinged.value.message == caught.value.message
    assert observer.outcomes == ["error", "error"]


@pytest.mark.parametrize("status", [101, 304])
async def test_an_unexpected_status_is_an_error(status: int) -> None:
    upstream, _, _ = upstream_with(answering(status))
    with pytest.raises(UpstreamError) as caught:
        await ask(upstream)
    assert (caught.value.reason, caught.value.retryable) == ("STATUS", False)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_keeps_its_retry_after(status: int) -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"Retry-After": "7"})

    upstream, _, _ = upstream_with(act)
    with pytest.raises(UpstreamError) as caught:
        await ask(upstream)
    assert (caught.value.retry_after_seconds, caught.value.retryable) == (7, True)


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (200, "text/html", b"<html>"),
        (200, "application/json", b"{}"),
        (200, "text/plain", b"data at 9"),
        (204, None, b""),
    ],
)
async def test_an_answer_that_is_not_a_stream_of_events_is_an_error(
    status: int, media_type: str | None, body: bytes
) -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"content-type": media_type} if media_type else {})

    upstream, _, _ = upstream_with(act, breaker_failures=1)
    with pytest.raises(UpstreamError) as caught:
        async with upstream.stream(scope(), Call(operation="x", path="/"), opens_within=1):
            pass
    assert (caught.value.reason, caught.value.retryable) == ("DECODE", False)
    assert parts(upstream) == {"x": "open"}


async def test_a_compressed_answer_is_decoded_whole_and_streamed() -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
        return httpx.Response(200, stream=Pieces(gzip.compress(b"data: {}\n\n")), headers=headers)

    upstream, _, _ = upstream_with(act)
    assert (await upstream.request(scope(), Call(operation="x", path="/"))).body == b"data: {}\n\n"
    assert await read_stream(upstream, Call(operation="x", path="/")) == b"data: {}\n\n"


class Pieces(httpx.AsyncByteStream):
    """A raw body that comes byte by byte."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for byte in self.body:
            yield bytes([byte])


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip", "deflate"])
async def test_an_encoding_that_cannot_be_read_is_an_error(encoding: str) -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream", "content-encoding": encoding}
        return httpx.Response(200, stream=Pieces(b"\xff\xff\xff\xff"), headers=headers)

    upstream, _, _ = upstream_with(act)
    with pytest.raises(UpstreamError) as caught:
        await ask(upstream)
    assert caught.value.reason == "DECODE"
    with pytest.raises(UpstreamError) as streamed:
        await read_stream(upstream, Call(operation="x", path="/"))
    assert streamed.value.reason == "DECODE"
    with pytest.raises(UpstreamError) as pinged:
        await upstream.ping(scope(), "/health")
    assert pinged.value.reason == "DECODE"


class Endless(httpx.AsyncByteStream):
    """A body that never ends."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1_000_000


class Counted(httpx.AsyncByteStream):
    """A body of any size, in pieces. ``sent`` counts the bytes that were read."""

    def __init__(self, body: bytes, piece: int = 65_536) -> None:
        self.body, self.piece, self.sent = body, piece, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.body), self.piece):
            self.sent = min(len(self.body), at + self.piece)
            yield self.body[at : at + self.piece]


MOST = 800_000


async def answered(
    size: AnswerSize, body: bytes, *, encoding: str = "", length: bool = False
) -> tuple[bytes | str | None, int]:
    """The body or the reason of the error, and the bytes that were read from the connection."""
    stream = Counted(body)
    headers = {"content-encoding": encoding} | ({"content-length": str(len(body))} if length else {})

    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, stream=stream)

    upstream, _, _ = upstream_with(act, max_bytes=MOST)
    try:
        return (await upstream.request(scope(30), Call(operation="x", path="/", size=size))).body, stream.sent
    except UpstreamError as error:
        return error.reason, stream.sent


@pytest.mark.bound("upstream-body")
@pytest.mark.parametrize("size", AnswerSize)
async def test_an_answer_is_read_at_its_bound_and_refused_past_it(size: AnswerSize) -> None:
    most = MOST // size.share
    assert await answered(size, b" " * most) == (b" " * most, most)
    reason, taken = await answered(size, b" " * 10 * MOST)
    assert reason == "TOO_LARGE"
    assert taken <= most + 65_536
    assert (await answered(size, b" " * (most + 1)))[0] == "TOO_LARGE"
    assert await answered(size, b" " * (most + 1), length=True) == ("TOO_LARGE", 0)
    assert (await answered(size, gzip.compress(b" " * most), encoding="gzip"))[0] == b" " * most
    assert (await answered(size, gzip.compress(b" " * (most + 1)), encoding="gzip"))[0] == "TOO_LARGE"


COUNTS = [*((size, b"{", size.objects) for size in AnswerSize), (AnswerSize.LIST, b",", AnswerSize.LIST.values or 0)]


@pytest.mark.bound("upstream-values")
@pytest.mark.parametrize(("size", "mark", "most"), COUNTS)
async def test_an_answer_has_as_many_values_as_its_bound_and_no_more(size: AnswerSize, mark: bytes, most: int) -> None:
    bounds = {"max_bytes": 10 * most * size.share}

    async def read(count: int) -> bytes | str | None:
        async def act(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=Counted((mark * count).ljust(100_000)))

        upstream, _, _ = upstream_with(act, **bounds)
        try:
            return (await upstream.request(scope(30), Call(operation="x", path="/", size=size))).body
        except UpstreamError as error:
            return error.reason

    assert await read(most) == (mark * most).ljust(100_000)
    assert await read(most + 1) == "TOO_LARGE"


@pytest.mark.bound("upstream-refusal")
async def test_a_refusals_body_is_read_at_its_bound_and_not_past_it() -> None:
    async def refused(length: int) -> bytes:
        async def act(_: httpx.Request) -> httpx.Response:
            return httpx.Response(400, stream=Counted(b"x" * length))

        upstream, _, _ = upstream_with(act)
        with pytest.raises(UpstreamRejected) as rejected:
            await upstream.request(scope(30), Call(operation="x", path="/"))
        return rejected.value.body

    assert await refused(MAX_REFUSAL_BYTES) == b"x" * MAX_REFUSAL_BYTES
    assert await refused(MAX_REFUSAL_BYTES + 1) == b""


async def test_a_slow_body_ends_at_the_deadline() -> None:
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.001)

    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Dripping())

    upstream, _, _ = upstream_with(act)
    with pytest.raises(UpstreamTimeout) as caught:
        await upstream.request(scope(0.2), Call(operation="x", path="/"))
    assert caught.value.reason == "DEADLINE"


async def test_a_refusal_with_an_endless_body_is_a_refusal() -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"retry-after": "7"}, stream=Endless())

    upstream, _, _ = upstream_with(act)
    call = Call(operation="x", path="/")
    with pytest.raises(UpstreamRejected) as whole:
        await upstream.request(scope(30), call)
    with pytest.raises(UpstreamRejected) as streamed:
        async with upstream.stream(scope(30), call, opens_within=30):
            pass
    for refused in (whole.value, streamed.value):
        assert (refused.status, refused.headers["retry-after"], refused.body) == (429, "7", b"")


async def test_too_large_answers_do_not_open_a_breaker() -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Endless())

    upstream, wire, observer = upstream_with(act, max_bytes=MOST)
    for _ in range(12):
        with pytest.raises(UpstreamError) as caught:
            await upstream.request(scope(30), Call(operation="x", path="/"))
        assert caught.value.reason == "TOO_LARGE"
        assert caught.value.unconfirmed
    assert (wire.calls, observer.states) == (12, [])
