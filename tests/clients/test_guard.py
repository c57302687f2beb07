"""The deadline, the bulkheads and the breakers of calls, through ``Upstream``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from collections.abc import AsyncIterator

import httpx
import pytest
from msgspec.structs import replace

from clients.breaker import BreakerState
from clients.breakers import BreakerKey
from clients.calls import Call, UpstreamRejected
from clients.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.origin import Origin
from tests.support.upstream_calls import (
    answering,
    ask,
    cancelled,
    failing,
    forever,
    made,
    parts,
    raised,
    read_stream,
    scope,
    upstream_with,
)


async def test_no_call_is_made_after_the_deadline() -> None:
    upstream, wire, observer = upstream_with(answering())
    assert (await raised(UpstreamTimeout, ask(upstream, -1))).reason == "DEADLINE"
    assert wire.calls == 0
    assert observer.outcomes == ["timeout"]


@pytest.mark.parametrize(("fair", "counts"), [(0.01, True), (10, False)])
async def test_a_timeout_counts_as_a_failure_of_the_part_unless_it_was_too_short(fair: float, counts: bool) -> None:
    upstream, _, observer = upstream_with(forever, breaker_failures=1, fair=fair)
    await raised(UpstreamTimeout, ask(upstream, 0.02))
    assert parts(upstream) == ({"me": "open"} if counts else {})
    assert observer.states == ([("me", BreakerState.OPEN)] if counts else [])
    assert upstream.breakers.service_state is BreakerState.CLOSED
    assert upstream.is_idle


async def test_a_timeout_of_a_model_counts_for_its_caller_alone() -> None:
    upstream, _, observer = upstream_with(forever, breaker_failures=1, fair=0.01)
    call = Call("complete", "/complete", model="slow", model_work=True)
    for caller in ("a", "b", "c", "d"):
        caught = await raised(UpstreamTimeout, read_stream(upstream, call, caller, opens_within=0.05))
        assert caught.reason == "FIRST_TOKEN"
    await raised(UpstreamTimeout, upstream.request(scope(0.05), call))
    [part] = upstream.breakers.parts()
    assert (part.part, part.callers) == ("model:slow", 5)
    assert (None, BreakerState.OPEN) not in observer.states


async def test_a_5xx_that_refuses_the_call_is_a_refusal() -> None:
    upstream, _, observer = upstream_with(answering(503), breaker_failures=1)
    call = Call("x", "/x", is_refusal=lambda answer: answer.body == b"{}")
    caught = await raised(UpstreamRejected, upstream.request(scope(), call))
    await raised(UpstreamRejected, read_stream(upstream, call))
    assert caught.status == 503
    assert parts(upstream) == {}
    await raised(UpstreamError, upstream.request(scope(), Call("x", "/x", is_refusal=lambda _: False)))
    assert parts(upstream) == {"x": "open"}
    assert observer.outcomes[:2] == ["rejected", "rejected"]


async def test_a_5xx_of_a_model_is_a_refusal_that_counts_against_the_model_and_nothing_else() -> None:
    upstream, wire, _ = upstream_with(answering(500), breaker_failures=2)
    gone = Call("chat", "/", model="gone", model_work=True, is_models_failure=lambda _: True)
    for caller in ("a", "b"):
        await raised(UpstreamRejected, upstream.request(scope(5, caller), gone))
    caught = await raised(UpstreamUnavailable, upstream.request(scope(5, "c"), gone))
    assert (caught.reason, caught.http_status) == ("MODEL", 503)
    assert (
        caught.message
        == "Calls to the model gone have failed repeatedly, so the gateway refuses new calls. Retry in 1000 s."
    )
    assert caught.retry_after_seconds == pytest.approx(1000, abs=1)
    assert parts(upstream) == {"model:gone": "open"}
    wire.act = answering()
    await upstream.request(scope(5, "a"), replace(gone, model="alive"))
    await ask(upstream, caller="a")


async def test_model_calls_and_other_calls_have_slots_of_their_own() -> None:
    upstream, wire, _ = upstream_with(forever, max_model_calls=1)
    model = Call("complete", "/complete", model_work=True)
    waiting = asyncio.create_task(upstream.request(scope(), model))
    await made(wire, 1)
    await raised(UpstreamUnavailable, upstream.request(scope(), model))
    wire.act = answering()
    await ask(upstream)
    await cancelled(waiting)


async def test_a_full_bulkhead_refuses_and_cancelled_calls_leave_it() -> None:
    upstream, wire, observer = upstream_with(forever, max_concurrent=2, breaker_failures=1)
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
    upstream, wire, _ = upstream_with(forever, max_concurrent=8, max_model_calls=8)
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
    upstream, wire, _ = upstream_with(forever, max_concurrent=1, max_model_calls=1)
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


async def test_slow_answers_open_a_breaker_unless_a_model_makes_them() -> None:
    for model_work, opens in ((False, True), (True, False)):
        upstream, _, _ = upstream_with(answering(), slow=0.0, breaker_calls=3, breaker_failures=3)
        call = Call("x", "/", model_work=model_work)
        for _ in range(3):
            await upstream.request(scope(5, "a"), call)
        assert parts(upstream) == ({"x": "open"} if opens else {})


async def test_a_trial_call_is_refused_while_another_process_makes_one() -> None:
    upstream, wire, _ = upstream_with(answering(500), breaker_failures=1, breaker_reset=0.001)
    await raised(UpstreamError, ask(upstream, caller="a"))
    wire.act, before, allowed = answering(), wire.calls, [False, True]

    class News:
        def changed(self, key: BreakerKey, state: BreakerState, seconds: float) -> None:
            pass

        async def may_try(self, key: BreakerKey) -> bool:
            return allowed.pop(0)

        def trial_ended(self, key: BreakerKey) -> None:
            pass

    upstream.breakers.share(News())
    await asyncio.sleep(0.002)
    refused = await raised(UpstreamUnavailable, ask(upstream, caller="a"))
    assert (refused.reason, refused.retry_after_seconds, wire.calls) == ("BREAKER_OPEN", 1.0, before)
    assert upstream.is_idle
    await ask(upstream, caller="a")
    assert parts(upstream) == {}


FAILURES, OTHERS = (500, 503), (200, 301, 304, 401, 404, 408, 429, 501)


@pytest.mark.parametrize("status", [*FAILURES, *OTHERS])
async def test_a_5xx_but_501_counts_as_a_failure(status: int) -> None:
    upstream, _, _ = upstream_with(answering(status), breaker_failures=3)
    for _ in range(3):
        with contextlib.suppress(UpstreamError, UpstreamRejected):
            await ask(upstream, caller="a")
    assert parts(upstream) == ({"me": "open"} if status in FAILURES else {})


async def test_half_open_admits_one_trial_call_and_another_after_a_cancelled_one() -> None:
    upstream, wire, _ = upstream_with(answering(500), breaker_failures=1, breaker_reset=0.001)
    await raised(UpstreamError, ask(upstream, caller="a"))
    await asyncio.sleep(0.002)
    wire.act = forever
    trial = asyncio.create_task(ask(upstream, caller="a"))
    await made(wire, 2)
    caught = await raised(UpstreamUnavailable, ask(upstream, caller="a"))
    assert caught.reason == "BREAKER_OPEN"
    assert (
        caught.message
        == "Calls to AMS for `me` have failed repeatedly, so the gateway refuses new calls. Retry in 1 s."
    )
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

    upstream, wire, _ = upstream_with(late, breaker_failures=1)
    slow = asyncio.create_task(ask(upstream, caller="a"))
    await made(wire, 1)
    wire.act = answering(500)
    await raised(UpstreamError, ask(upstream, caller="a"))
    release.set()
    await slow
    assert parts(upstream) == {"me": "open"}


@pytest.mark.parametrize("error", [httpx.ConnectError(""), httpx.ConnectTimeout("")])
async def test_failed_connections_open_the_breaker_for_all_callers(error: Exception) -> None:
    upstream, wire, observer = upstream_with(failing(error))
    for _ in range(5):
        await raised(UpstreamUnavailable, ask(upstream, caller="a"))
    caught = await raised(UpstreamUnavailable, upstream.request(scope(5, "b"), Call("other", "/")))
    assert caught.reason == "BREAKER_OPEN"
    assert caught.message == "Calls to AMS have failed repeatedly, so the gateway refuses new calls. Retry in 1000 s."
    assert wire.calls == 5 + len(observer.retried) == 13  # the fifth failure opens the breaker
    assert parts(upstream) == {}
    assert observer.states == [(None, BreakerState.OPEN)]


class Cut(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"data: {}\n\n"
        raise httpx.ReadError("")


async def test_a_stream_that_breaks_off_counts_as_a_failure() -> None:
    upstream, _, observer = upstream_with(
        answering(stream=Cut(), headers={"content-type": "text/event-stream"}), breaker_failures=3
    )
    call = Call("send", "/", "POST", model_work=True, subject="agent-1")
    for _ in range(3):
        assert (await raised(UpstreamError, read_stream(upstream, call, "a"))).reason == "CUT"
    assert parts(upstream) == {"send:agent-1": "open"}
    assert observer.outcomes == ["error"] * 3


async def test_a_stream_that_ends_early_leaves_no_reference_cycle() -> None:
    upstream, _, _ = upstream_with(answering(stream=Cut(), headers={"content-type": "text/event-stream"}))

    class Frame:
        """Represents the objects that the error's stack frames keep alive."""

    async def read(_: Frame) -> None:
        await read_stream(upstream, Call("send", "/", "POST"))

    frame = Frame()
    is_there = weakref.ref(frame)
    gc.disable()
    try:
        with pytest.raises(UpstreamError):
            await read(frame)
        del frame
        assert is_there() is None
    finally:
        gc.enable()
