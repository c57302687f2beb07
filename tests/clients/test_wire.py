"""Reading upstream answers through ``Upstream``: encodings, bounds and errors."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from clients.calls import AnswerSize, Call, UpstreamRejected
from clients.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.wire import MAX_REFUSAL_BYTES
from tests.support.upstream_calls import answering, ask, failing, parts, raised, read_stream, scope, upstream_with


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("http://secret@ams"), "CONNECT"),
        (httpx.ConnectTimeout(""), "CONNECT"),
        (httpx.ReadTimeout(""), "DEADLINE"),
        (httpx.RemoteProtocolError("text of the upstream"), "CUT"),
    ],
)
async def test_each_transport_error_has_its_reason_and_a_safe_message(error: Exception, reason: str) -> None:
    upstream, _, _ = upstream_with(failing(error))
    caught = await raised((UpstreamError, UpstreamTimeout, UpstreamUnavailable), ask(upstream))
    assert caught.reason == reason
    assert "secret" not in caught.message
    assert "text of the upstream" not in caught.message


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_that_names_the_setting(status: int) -> None:
    upstream, _, observer = upstream_with(answering(status))
    caught = await raised(UpstreamError, ask(upstream))
    assert caught.message == f"AMS answered with the redirect status {status}. Check AMS_BASE_URL."
    assert (caught.reason, caught.retryable) == ("STATUS", False)
    streamed = await raised(UpstreamError, read_stream(upstream, Call("x", "/")))
    assert streamed.message == caught.message
    pinged = await raised(UpstreamError, upstream.ping(scope(), "/health"))
    assert pinged.message == caught.message
    assert observer.outcomes == ["error", "error"]


@pytest.mark.parametrize("status", [101, 304])
async def test_an_unexpected_status_is_an_error(status: int) -> None:
    upstream, _, _ = upstream_with(answering(status))
    caught = await raised(UpstreamError, ask(upstream))
    assert (caught.reason, caught.retryable) == ("STATUS", False)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_keeps_its_retry_after(status: int) -> None:
    upstream, _, _ = upstream_with(answering(status, headers={"Retry-After": "7"}))
    caught = await raised(UpstreamError, ask(upstream))
    assert (caught.retry_after_seconds, caught.retryable) == (7, True)


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
    upstream, _, _ = upstream_with(
        answering(status, content=body, headers={"content-type": media_type} if media_type else {}), breaker_failures=1
    )
    caught = await raised(UpstreamError, read_stream(upstream, Call("x", "/")))
    assert (caught.reason, caught.retryable) == ("DECODE", False)
    assert parts(upstream) == {"x": "open"}


async def test_a_compressed_answer_is_decoded_whole_and_streamed() -> None:
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    upstream, _, _ = upstream_with(answering(stream=Counted(gzip.compress(b"data: {}\n\n"), piece=1), headers=headers))
    assert (await upstream.request(scope(), Call("x", "/"))).body == b"data: {}\n\n"
    assert await read_stream(upstream, Call("x", "/")) == b"data: {}\n\n"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip", "deflate"])
async def test_an_encoding_that_cannot_be_read_is_an_error(encoding: str) -> None:
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    upstream, _, _ = upstream_with(answering(stream=Counted(b"\xff\xff\xff\xff", piece=1), headers=headers))
    assert (await raised(UpstreamError, ask(upstream))).reason == "DECODE"
    assert (await raised(UpstreamError, read_stream(upstream, Call("x", "/")))).reason == "DECODE"
    assert (await raised(UpstreamError, upstream.ping(scope(), "/health"))).reason == "DECODE"


class Endless(httpx.AsyncByteStream):
    def __init__(self, piece: int = 1_000_000, pause: float = 0.0) -> None:
        self.piece, self.pause = piece, pause

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" " * self.piece
            await asyncio.sleep(self.pause)


class Counted(httpx.AsyncByteStream):
    """A body of a given size, in pieces. ``sent`` counts the bytes that were read."""

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
    """Return the body or the error's reason, and the number of bytes read from the connection."""
    stream = Counted(body)
    headers = {"content-encoding": encoding} | ({"content-length": str(len(body))} if length else {})

    upstream, _, _ = upstream_with(answering(headers=headers, stream=stream), max_bytes=MOST)
    try:
        return (await upstream.request(scope(30), Call("x", "/", size=size))).body, stream.sent
    except UpstreamError as error:
        return error.reason, stream.sent


@pytest.mark.bound("upstream-body")
@pytest.mark.parametrize("size", AnswerSize)
async def test_an_answer_is_read_at_its_bound_and_refused_past_it(size: AnswerSize) -> None:
    most = MOST // size.share
    assert await answered(size, b" " * most) == (b" " * most, most)
    reason, read = await answered(size, b" " * 10 * MOST)
    assert reason == "TOO_LARGE"
    assert read <= most + 65_536
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
        upstream, _, _ = upstream_with(answering(stream=Counted((mark * count).ljust(100_000))), **bounds)
        try:
            return (await upstream.request(scope(30), Call("x", "/", size=size))).body
        except UpstreamError as error:
            return error.reason

    assert await read(most) == (mark * most).ljust(100_000)
    assert await read(most + 1) == "TOO_LARGE"


@pytest.mark.bound("upstream-refusal")
async def test_a_refusals_body_is_read_at_its_bound_and_not_past_it() -> None:
    async def refused(length: int) -> bytes:
        upstream, _, _ = upstream_with(answering(400, stream=Counted(b"x" * length)))
        rejected = await raised(UpstreamRejected, upstream.request(scope(30), Call("x", "/")))
        return rejected.body

    assert await refused(MAX_REFUSAL_BYTES) == b"x" * MAX_REFUSAL_BYTES
    assert await refused(MAX_REFUSAL_BYTES + 1) == b""


async def test_a_slow_body_ends_at_the_deadline() -> None:
    upstream, _, _ = upstream_with(answering(stream=Endless(piece=1, pause=0.001)))
    assert (await raised(UpstreamTimeout, upstream.request(scope(0.2), Call("x", "/")))).reason == "DEADLINE"


async def test_a_refusal_with_an_endless_body_is_a_refusal() -> None:
    upstream, _, _ = upstream_with(answering(429, headers={"retry-after": "7"}, stream=Endless()))
    call = Call("x", "/")
    whole = await raised(UpstreamRejected, upstream.request(scope(30), call))
    streamed = await raised(UpstreamRejected, read_stream(upstream, call, opens_within=30))
    for refused in (whole, streamed):
        assert (refused.status, refused.headers["retry-after"], refused.body) == (429, "7", b"")


async def test_too_large_answers_do_not_open_a_breaker() -> None:
    upstream, wire, observer = upstream_with(answering(stream=Endless()), max_bytes=MOST)
    for _ in range(12):
        caught = await raised(UpstreamError, upstream.request(scope(30), Call("x", "/")))
        assert caught.reason == "TOO_LARGE"
        assert caught.unconfirmed
    assert (wire.calls, observer.states) == (12, [])
