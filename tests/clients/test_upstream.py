from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from clients.breaker import BreakerState
from clients.calls import Answer, AnswerSize, Call, CallScope, UpstreamLimits, UpstreamRejected
from clients.decode import MAX_PAGE_RECORDS, MAX_RECORDS, Page, Records, decode
from clients.errors import Service, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.origin import Origin
from clients.transport import FRESH, IdleConnectionDropped
from clients.upstream import Upstream
from clients.wire import MAX_REFUSAL_BYTES

Act = Callable[[httpx.Request], Awaitable[httpx.Response]]
E = TypeVar("E", bound=BaseException)


class Observer:
    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.states: list[tuple[str | None, BreakerState]] = []
        self.repeated: list[str] = []

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        self.outcomes.append(outcome)

    def call_repeated(self, service: Service, operation: str, request_id: str) -> None:
        self.repeated.append(operation)

    def breaker_changed(self, service: Service, part: str | None, state: BreakerState) -> None:
        self.states.append((part, state))


class Wire(httpx.AsyncBaseTransport):
    """A transport with the behaviour of the test."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return await self.act(request)


def guard(act: Act, **limits: float) -> tuple[Upstream, Wire, Observer]:
    wire, observer = Wire(act), Observer()
    bounds = UpstreamLimits(**{"breaker_reset": 1000, "queue": 0.05, **limits})
    upstream = Upstream(
        Service.AMS,
        "http://ams",
        translate=lambda rejected: rejected,
        headers={"authorization": "secret"},
        limits=bounds,
        observer=observer,
        transport=wire,
    )
    return upstream, wire, observer


def scope(seconds: float = 5, caller: str | None = None) -> CallScope:
    """A scope, with a new caller by default, so that a caller's share is no bound."""
    return CallScope("request-1", time.monotonic() + seconds, "00-trace", caller=caller or str(uuid.uuid4()))


def answering(status: int = 200, **parts: Any) -> Act:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, **(parts or {"content": b"{}"}))

    return act


def failing(error: Exception) -> Act:
    async def act(_: httpx.Request) -> httpx.Response:
        raise error

    return act


async def forever(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def ask(upstream: Upstream, seconds: float = 5, caller: str | None = None) -> None:
    await upstream.request(scope(seconds, caller), Call("me", "/me"))


async def raised(kind: type[E] | tuple[type[E], ...], call: Awaitable[object]) -> E:
    """The error of a call."""
    with pytest.raises(kind) as caught:
        await call
    return caught.value


async def made(wire: Wire, calls: int) -> None:
    """Wait for calls."""
    while wire.calls < calls:
        await asyncio.sleep(0)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def read_stream(upstream: Upstream, call: Call, caller: str | None = None, *, opens_within: float = 1) -> bytes:
    async with upstream.stream(scope(opens_within + 5, caller), call, opens_within=opens_within) as answer:
        return b"".join([chunk async for chunk in answer.chunks])


def parts(upstream: Upstream) -> dict[str, str]:
    """The state of each part whose breakers are not all closed."""
    return {part.part: part.state.value for part in upstream.breakers.parts()}


async def test_the_scope_and_the_credential_are_sent() -> None:
    seen: list[httpx.Request] = []

    async def act(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}", headers={"Set-Cookie": "a=b"})

    upstream, _, observer = guard(act)
    call = Call("x", "/x", "POST", params=[("a", "1"), ("a", "2")], json={"b": 1})
    await upstream.request(scope(), call)
    await ask(upstream)
    assert seen[0].headers["x-request-id"] == "request-1"
    assert seen[0].headers["traceparent"] == "00-trace"
    assert seen[0].headers["authorization"] == "secret"
    assert seen[0].headers["accept-encoding"] == "identity"
    assert str(seen[0].url) == "http://ams/x?a=1&a=2"
    assert seen[0].content == b'{"b":1}'
    assert "cookie" not in seen[1].headers
    assert observer.outcomes == ["ok", "ok"]


async def test_no_call_is_made_after_the_deadline() -> None:
    upstream, wire, observer = guard(answering())
    assert (await raised(UpstreamTimeout, ask(upstream, -1))).reason == "DEADLINE"
    assert wire.calls == 0
    assert observer.outcomes == ["timeout"]


@pytest.mark.parametrize(("fair", "counts"), [(0.01, True), (10, False)])
async def test_a_timeout_counts_as_a_failure_of_the_part_unless_it_was_too_short(fair: float, counts: bool) -> None:
    upstream, _, observer = guard(forever, breaker_failures=1, fair=fair)
    await raised(UpstreamTimeout, ask(upstream, 0.02))
    assert parts(upstream) == ({"me": "open"} if counts else {})
    assert observer.states == ([("me", BreakerState.OPEN)] if counts else [])
    assert upstream.breakers.service_state is BreakerState.CLOSED
    assert upstream.is_idle


async def test_a_timeout_of_a_model_counts_for_its_caller_alone() -> None:
    upstream, _, observer = guard(forever, breaker_failures=1, fair=0.01)
    call = Call("complete", "/complete", model="slow", model_work=True)
    for caller in ("a", "b", "c", "d"):
        caught = await raised(UpstreamTimeout, read_stream(upstream, call, caller, opens_within=0.05))
        assert caught.reason == "FIRST_TOKEN"
    await raised(UpstreamTimeout, upstream.request(scope(0.05), call))
    [part] = upstream.breakers.parts()
    assert (part.part, part.callers) == ("model:slow", 5)
    assert (None, BreakerState.OPEN) not in observer.states


async def test_a_5xx_that_refuses_the_call_is_a_refusal() -> None:
    upstream, _, observer = guard(answering(503), breaker_failures=1)
    call = Call("x", "/x", is_refusal=lambda answer: answer.body == b"{}")
    caught = await raised(UpstreamRejected, upstream.request(scope(), call))
    await raised(UpstreamRejected, read_stream(upstream, call))
    assert caught.status == 503
    assert parts(upstream) == {}
    await raised(UpstreamError, upstream.request(scope(), Call("x", "/x", is_refusal=lambda _: False)))
    assert parts(upstream) == {"x": "open"}
    assert observer.outcomes[:2] == ["rejected", "rejected"]


async def test_a_5xx_of_a_model_is_a_refusal_that_counts_against_the_model_and_nothing_else() -> None:
    upstream, wire, _ = guard(answering(500), breaker_failures=2)
    gone = Call("chat", "/", model="gone", model_work=True, is_models_failure=lambda _: True)
    for caller in ("a", "b"):
        await raised(UpstreamRejected, upstream.request(scope(5, caller), gone))
    caught = await raised(UpstreamUnavailable, upstream.request(scope(5, "c"), gone))
    assert (caught.reason, caught.http_status) == ("MODEL", 503)
    assert caught.message == "Model gone keeps failing: its breaker is open. Retry in 1000 s."
    assert caught.retry_after_seconds == pytest.approx(1000, abs=1)
    assert parts(upstream) == {"model:gone": "open"}
    wire.act = answering()
    await upstream.request(scope(5, "a"), replace(gone, model="alive"))
    await ask(upstream, caller="a")


async def test_model_calls_and_other_calls_have_slots_of_their_own() -> None:
    upstream, wire, _ = guard(forever, max_model_calls=1)
    model = Call("complete", "/complete", model_work=True)
    waiting = asyncio.create_task(upstream.request(scope(), model))
    await made(wire, 1)
    await raised(UpstreamUnavailable, upstream.request(scope(), model))
    wire.act = answering()
    await ask(upstream)
    await cancelled(waiting)


async def test_a_full_bulkhead_refuses_and_cancelled_calls_leave_it() -> None:
    upstream, wire, observer = guard(forever, max_concurrent=2, breaker_failures=1)
    tasks = [asyncio.create_task(ask(upstream)) for _ in range(2)]
    await made(wire, 2)
    assert (await raised(UpstreamUnavailable, ask(upstream))).reason == "BULKHEAD_FULL"
    await cancelled(*tasks)
    assert upstream.is_idle
    assert parts(upstream) == {}
    assert observer.outcomes == ["unavailable", "cancelled", "cancelled"]
    wire.act = answering()
    await asyncio.gather(ask(upstream), ask(upstream))


@pytest.mark.parametrize("model_work", [False, True])
async def test_one_caller_has_a_share_of_the_slots(model_work: bool) -> None:
    upstream, wire, _ = guard(forever, max_concurrent=8, max_model_calls=8)
    first, second = replace(scope(), caller="first"), replace(scope(), caller="second")
    call = Call("me", "/me", model_work=model_work)
    tasks = [asyncio.create_task(upstream.request(first, call)) for _ in range(2)]
    await made(wire, 2)
    wire.act = answering()
    late = asyncio.create_task(upstream.request(first, call))
    assert (await upstream.request(second, call)).status == 200
    if model_work:
        assert (await raised(UpstreamUnavailable, late)).reason == "BULKHEAD_FULL"
    else:  # waits for its own slot without a timeout
        out_of_time = await raised(
            UpstreamTimeout, upstream.request(replace(first, deadline=time.monotonic() + 0.2), call)
        )
        assert out_of_time.reason == "DEADLINE"
        tasks[0].cancel()
        assert (await late).status == 200
    await cancelled(*tasks)
    assert upstream.is_idle


async def test_calls_of_letta_have_slots_of_their_own() -> None:
    upstream, wire, _ = guard(forever, max_concurrent=1, max_model_calls=1, max_letta_calls=1)
    model = Call("chat.completions", "/", model_work=True)
    tasks = [asyncio.create_task(ask(upstream)), asyncio.create_task(upstream.request(scope(), model))]
    await made(wire, 2)
    wire.act = answering()
    from_letta = replace(scope(), origin=Origin.LETTA)
    for call in (model, Call("me", "/me")):
        await raised(UpstreamUnavailable, upstream.request(scope(), call))
        assert (await upstream.request(from_letta, call)).status == 200
    wire.act = forever
    tasks.append(asyncio.create_task(upstream.request(from_letta, model)))
    await made(wire, 5)
    caught = await raised(UpstreamUnavailable, upstream.request(from_letta, model))  # bounded as well
    assert caught.reason == "BULKHEAD_FULL"
    await cancelled(*tasks)


FAILURES, OTHERS = (500, 503), (200, 301, 304, 401, 404, 408, 429, 501)


@pytest.mark.parametrize("status", [*FAILURES, *OTHERS])
async def test_a_5xx_but_501_counts_as_a_failure(status: int) -> None:
    upstream, _, _ = guard(answering(status), breaker_failures=3)
    for _ in range(3):
        with contextlib.suppress(UpstreamError, UpstreamRejected):
            await ask(upstream, caller="a")
    assert parts(upstream) == ({"me": "open"} if status in FAILURES else {})


async def test_half_open_admits_one_trial_call_and_another_after_a_cancelled_one() -> None:
    upstream, wire, _ = guard(answering(500), breaker_failures=1, breaker_reset=0.001)
    await raised(UpstreamError, ask(upstream, caller="a"))
    await asyncio.sleep(0.002)
    wire.act = forever
    trial = asyncio.create_task(ask(upstream, caller="a"))
    await made(wire, 2)
    caught = await raised(UpstreamUnavailable, ask(upstream, caller="a"))
    assert caught.reason == "BREAKER_OPEN"
    assert caught.message == "AMS (me) keeps failing: its breaker is open. Retry in 1 s."
    await cancelled(trial)
    assert parts(upstream) == {"me": "half-open"}
    wire.act = answering()
    await ask(upstream, caller="a")
    assert parts(upstream) == {}


async def test_an_outcome_from_before_a_change_of_state_does_not_count() -> None:
    release = asyncio.Event()

    async def late(_: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200, content=b"{}")

    upstream, wire, _ = guard(late, breaker_failures=1)
    slow = asyncio.create_task(ask(upstream, caller="a"))
    await made(wire, 1)
    wire.act = answering(500)
    await raised(UpstreamError, ask(upstream, caller="a"))
    release.set()
    await slow
    assert parts(upstream) == {"me": "open"}


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
    upstream, _, _ = guard(failing(error))
    caught = await raised((UpstreamError, UpstreamTimeout, UpstreamUnavailable), ask(upstream))
    assert caught.reason == reason
    assert "secret" not in caught.message
    assert "text of the upstream" not in caught.message


@pytest.mark.parametrize("error", [httpx.ConnectError(""), httpx.ConnectTimeout("")])
async def test_failed_connections_open_the_breaker_for_all_callers(error: Exception) -> None:
    upstream, wire, observer = guard(failing(error))
    for _ in range(5):
        await raised(UpstreamUnavailable, ask(upstream, caller="a"))
    caught = await raised(UpstreamUnavailable, upstream.request(scope(5, "b"), Call("other", "/")))
    assert caught.reason == "BREAKER_OPEN"
    assert caught.message == "AMS keeps failing: its breaker is open. Retry in 1000 s."
    assert wire.calls == 5
    assert parts(upstream) == {}
    assert observer.states == [(None, BreakerState.OPEN)]


class Cut(httpx.AsyncByteStream):
    """A body that breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"data: {}\n\n"
        raise httpx.ReadError("")


async def test_a_stream_that_breaks_off_counts_as_a_failure() -> None:
    upstream, _, observer = guard(
        answering(stream=Cut(), headers={"content-type": "text/event-stream"}), breaker_failures=3
    )
    call = Call("send", "/", "POST", model_work=True, subject="agent-1")
    for _ in range(3):
        assert (await raised(UpstreamError, read_stream(upstream, call, "a"))).reason == "CUT"
    assert parts(upstream) == {"send:agent-1": "open"}
    assert observer.outcomes == ["error"] * 3


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_that_names_the_setting(status: int) -> None:
    upstream, _, observer = guard(answering(status))
    caught = await raised(UpstreamError, ask(upstream))
    assert caught.message == f"AMS redirects with status {status}. Check AMS_BASE_URL."
    assert (caught.reason, caught.retryable) == ("STATUS", False)
    streamed = await raised(UpstreamError, read_stream(upstream, Call("x", "/")))
    assert streamed.message == caught.message
    pinged = await raised(UpstreamError, upstream.ping(scope(), "/health"))
    assert pinged.message == caught.message
    assert observer.outcomes == ["error", "error"]


@pytest.mark.parametrize("status", [101, 304])
async def test_an_unexpected_status_is_an_error(status: int) -> None:
    upstream, _, _ = guard(answering(status))
    caught = await raised(UpstreamError, ask(upstream))
    assert (caught.reason, caught.retryable) == ("STATUS", False)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_keeps_its_retry_after(status: int) -> None:
    upstream, _, _ = guard(answering(status, headers={"Retry-After": "7"}))
    caught = await raised(UpstreamError, ask(upstream))
    assert (caught.retry_after_seconds, caught.retryable) == (7, True)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"not json", b"\xff"])
async def test_an_answer_to_a_health_check_that_is_not_json_is_an_error(body: bytes) -> None:
    upstream, _, _ = guard(answering(content=body))
    caught = await raised(UpstreamError, upstream.ping(scope(), "/health"))
    assert caught.reason == "DECODE"
    assert "AMS_BASE_URL" in caught.message


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
    upstream, _, _ = guard(
        answering(status, content=body, headers={"content-type": media_type} if media_type else {}), breaker_failures=1
    )
    caught = await raised(UpstreamError, read_stream(upstream, Call("x", "/")))
    assert (caught.reason, caught.retryable) == ("DECODE", False)
    assert parts(upstream) == {"x": "open"}


async def test_a_check_finds_an_error_with_status_200() -> None:
    upstream, _, _ = guard(answering(), breaker_failures=1)
    call = Call("x", "/", check=lambda answer: Answer(429, answer.headers, answer.body))
    assert (await raised(UpstreamRejected, upstream.request(scope(), call))).status == 429
    assert parts(upstream) == {}


async def test_a_compressed_answer_is_decoded_whole_and_streamed() -> None:
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    upstream, _, _ = guard(answering(stream=Pieces(gzip.compress(b"data: {}\n\n")), headers=headers))
    assert (await upstream.request(scope(), Call("x", "/"))).body == b"data: {}\n\n"
    assert await read_stream(upstream, Call("x", "/")) == b"data: {}\n\n"


class Pieces(httpx.AsyncByteStream):
    """A raw body that comes byte by byte."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for byte in self.body:
            yield bytes([byte])


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip", "deflate"])
async def test_an_encoding_that_cannot_be_read_is_an_error(encoding: str) -> None:
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    upstream, _, _ = guard(answering(stream=Pieces(b"\xff\xff\xff\xff"), headers=headers))
    assert (await raised(UpstreamError, ask(upstream))).reason == "DECODE"
    assert (await raised(UpstreamError, read_stream(upstream, Call("x", "/")))).reason == "DECODE"
    assert (await raised(UpstreamError, upstream.ping(scope(), "/health"))).reason == "DECODE"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_only_a_read_is_repeated_after_a_dropped_connection(method: str) -> None:
    fresh: list[bool] = []

    async def act(request: httpx.Request) -> httpx.Response:
        fresh.append(FRESH in request.extensions)
        if len(fresh) < 2:
            raise IdleConnectionDropped("")
        return httpx.Response(200, content=b"{}")

    upstream, _, observer = guard(act, breaker_failures=1)
    call = Call("x", "/", method)
    if method == "GET":
        await upstream.request(scope(), call)
        assert (fresh, observer.repeated, observer.outcomes) == ([False, True], ["x"], ["ok"])
        return
    assert (await raised(UpstreamError, upstream.request(scope(), call))).reason == "CUT"
    assert (fresh, observer.repeated) == ([False], [])


async def test_a_read_is_repeated_once() -> None:
    upstream, wire, _ = guard(failing(IdleConnectionDropped("")))
    await raised(UpstreamError, ask(upstream))
    assert wire.calls == 2


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

    upstream, _, _ = guard(answering(headers=headers, stream=stream), max_bytes=MOST)
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
async def test_an_answer_has_at_most_as_many_values_as_its_bound(size: AnswerSize, mark: bytes, most: int) -> None:
    bounds = {"max_bytes": 10 * most * size.share}

    async def read(count: int) -> bytes | str | None:
        upstream, _, _ = guard(answering(stream=Counted((mark * count).ljust(100_000))), **bounds)
        try:
            return (await upstream.request(scope(30), Call("x", "/", size=size))).body
        except UpstreamError as error:
            return error.reason

    assert await read(most) == (mark * most).ljust(100_000)
    assert await read(most + 1) == "TOO_LARGE"


@pytest.mark.bound("upstream-refusal")
async def test_a_refusals_body_is_read_at_its_bound_and_not_past_it() -> None:
    async def refused(length: int) -> bytes:
        upstream, _, _ = guard(answering(400, stream=Counted(b"x" * length)))
        rejected = await raised(UpstreamRejected, upstream.request(scope(30), Call("x", "/")))
        return rejected.body

    assert await refused(MAX_REFUSAL_BYTES) == b"x" * MAX_REFUSAL_BYTES
    assert await refused(MAX_REFUSAL_BYTES + 1) == b""


@pytest.mark.bound("upstream-records")
def test_a_list_has_at_most_as_many_records_as_its_bound() -> None:
    for kind, most in ((Records[msgspec.Raw], MAX_RECORDS), (Page[msgspec.Raw], MAX_PAGE_RECORDS)):
        decoder = msgspec.json.Decoder(kind)
        assert len(decode(Service.AMS, decoder, b"[" + b"1," * (most - 1) + b"1]")) == most
        with pytest.raises(UpstreamError) as error:
            decode(Service.AMS, decoder, b"[" + b"1," * most + b"1]")
        assert error.value.reason == "DECODE"


async def test_too_large_answers_do_not_open_a_breaker() -> None:
    upstream, wire, observer = guard(answering(stream=Endless()), max_bytes=MOST)
    for _ in range(12):
        caught = await raised(UpstreamError, upstream.request(scope(30), Call("x", "/")))
        assert caught.reason == "TOO_LARGE"
        assert caught.unconfirmed
    assert (wire.calls, observer.states) == (12, [])


async def test_a_slow_body_ends_at_the_deadline() -> None:
    class Dripping(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b" "
                await asyncio.sleep(0.001)

    upstream, _, _ = guard(answering(stream=Dripping()))
    assert (await raised(UpstreamTimeout, upstream.request(scope(0.2), Call("x", "/")))).reason == "DEADLINE"


async def test_a_refusal_whose_body_has_no_end_is_a_refusal() -> None:
    upstream, _, _ = guard(answering(429, headers={"retry-after": "7"}, stream=Endless()))
    call = Call("x", "/")
    whole = await raised(UpstreamRejected, upstream.request(scope(30), call))
    streamed = await raised(UpstreamRejected, read_stream(upstream, call, opens_within=30))
    for refused in (whole, streamed):
        assert (refused.status, refused.headers["retry-after"], refused.body) == (429, "7", b"")
