"""The deadline, the bulkheads and the breakers of calls, through ``Upstream``."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from clients.breaker import BreakerState
from clients.calls import Call, UpstreamRejected
from clients.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.origin import Origin
from tests.support.upstream_calls import answering, ask, forever, parts, read_stream, scope, upstream_with


async def test_no_call_is_made_after_the_deadline() -> None:
    upstream, wire, observer = upstream_with(answering(200))
    with pytest.raises(UpstreamTimeout) as caught:
        await ask(upstream, -1)
    assert caught.value.reason == "DEADLINE"
    assert wire.calls == 0
    assert observer.outcomes == ["timeout"]


async def test_a_timeout_counts_as_a_failure_of_the_part() -> None:
    upstream, _, observer = upstream_with(forever, breaker_failures=1, fair=0.01)
    with pytest.raises(UpstreamTimeout):
        await ask(upstream, 0.02)
    assert parts(upstream) == {"me": "open"}
    assert observer.states == [("me", BreakerState.OPEN)]
    assert upstream.breakers.service_state is BreakerState.CLOSED
    assert upstream.is_idle


async def test_a_timeout_shorter_than_fair_does_not_count() -> None:
    upstream, _, _ = upstream_with(forever, breaker_failures=1, fair=10)
    with pytest.raises(UpstreamTimeout):
        await ask(upstream, 0.02)
    assert parts(upstream) == {}


async def test_a_timeout_of_a_model_counts_for_its_caller_alone() -> None:
    upstream, _, observer = upstream_with(forever, breaker_failures=1, fair=0.01)
    call = Call(operation="complete", path="/complete", model="slow", model_work=True)
    for caller in ("a", "b", "c", "d"):
        with pytest.raises(UpstreamTimeout) as caught:
            async with upstream.stream(scope(5, caller), call, opens_within=0.05):
                pass
        assert caught.value.reason == "FIRST_TOKEN"
    with pytest.raises(UpstreamTimeout):
        await upstream.request(scope(0.05), call)
    [part] = upstream.breakers.parts()
    assert (part.part, part.callers) == ("model:slow", 5)
    assert (None, BreakerState.OPEN) not in observer.states


async def test_a_5xx_that_refuses_the_call_is_a_refusal() -> None:
    upstream, _, observer = upstream_with(answering(503), breaker_failures=1)
    call = Call(operation="x", path="/x", is_refusal=lambda answer: answer.body == b"{}")
    with pytest.raises(UpstreamRejected) as caught:
        await upstream.request(scope(), call)
    with pytest.raises(UpstreamRejected):
        async with upstream.stream(scope(), call, opens_within=1):
            pass
    assert caught.value.status == 503
    assert parts(upstream) == {}
    with pytest.raises(UpstreamError):
        await upstream.request(scope(), Call(operation="x", path="/x", is_refusal=lambda _: False))
    assert parts(upstream) == {"x": "open"}
    assert observer.outcomes[:2] == ["rejected", "rejected"]


async def test_a_5xx_of_a_model_is_a_refusal_that_counts_against_the_model_and_nothing_else() -> None:
    upstream, wire, _ = upstream_with(answering(500), breaker_failures=2)
    gone = Call(operation="chat", path="/", model="gone", model_work=True, is_models_failure=lambda _: True)
    for caller in ("a", "b"):
        with pytest.raises(UpstreamRejected):
            await upstream.request(scope(5, caller), gone)
    with pytest.raises(UpstreamUnavailable) as caught:
        await upstream.request(scope(5, "c"), gone)
    assert (caught.value.reason, caught.value.http_status) == ("MODEL", 503)
    assert caught.value.message == "Model gone keeps failing: its breaker is open. Retry in 1000 s."
    assert caught.value.retry_after_seconds == pytest.approx(1000, abs=1)
    assert parts(upstream) == {"model:gone": "open"}
    wire.act = answering(200)
    await upstream.request(scope(5, "a"), replace(gone, model="alive"))
    await ask(upstream, caller="a")


async def test_model_calls_and_other_calls_have_slots_of_their_own() -> None:
    upstream, wire, _ = upstream_with(forever, max_model_calls=1)
    model = Call(operation="complete", path="/complete", model_work=True)
    waiting = asyncio.create_task(upstream.request(scope(), model))
    while wire.calls < 1:
        await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable):
        await upstream.request(scope(), model)
    wire.act = answering(200)
    await ask(upstream)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_full_bulkhead_refuses_and_cancelled_calls_leave_it() -> None:
    upstream, wire, observer = upstream_with(forever, max_concurrent=2, breaker_failures=1)
    tasks = [asyncio.create_task(ask(upstream)) for _ in range(2)]
    while wire.calls < 2:
        await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable) as caught:
        await ask(upstream)
    assert caught.value.reason == "BULKHEAD_FULL"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert upstream.is_idle
    assert parts(upstream) == {}
    assert observer.outcomes == ["unavailable", "cancelled", "cancelled"]
    wire.act = answering(200)
    await asyncio.gather(ask(upstream), ask(upstream))


@pytest.mark.parametrize("model_work", [False, True])
async def test_one_caller_has_a_share_of_the_slots(model_work: bool) -> None:
    upstream, wire, _ = upstream_with(forever, max_concurrent=8, max_model_calls=8)
    greedy, modest = replace(scope(), caller="greedy"), replace(scope(), caller="modest")
    call = Call(operation="me", path="/me", model_work=model_work)
    tasks = [asyncio.create_task(upstream.request(greedy, call)) for _ in range(2)]
    while wire.calls < 2:
        await asyncio.sleep(0)
    wire.act = answering(200)
    late = asyncio.create_task(upstream.request(greedy, call))
    assert (await upstream.request(modest, call)).status == 200
    if model_work:
        with pytest.raises(UpstreamUnavailable) as caught:
            await late
        assert caught.value.reason == "BULKHEAD_FULL"
    else:  # waits for its own, past the time that it would wait for others
        with pytest.raises(UpstreamTimeout) as out_of_time:
            await upstream.request(replace(greedy, deadline=time.monotonic() + 0.2), call)
        assert out_of_time.value.reason == "DEADLINE"
        tasks[0].cancel()
        assert (await late).status == 200
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert upstream.is_idle


async def test_calls_of_letta_have_slots_of_their_own() -> None:
    upstream, wire, _ = upstream_with(forever, max_concurrent=1, max_model_calls=1, max_letta_calls=1)
    model = Call(operation="chat.completions", path="/", model_work=True)
    tasks = [asyncio.create_task(ask(upstream)), asyncio.create_task(upstream.request(scope(), model))]
    while wire.calls < 2:
        await asyncio.sleep(0)
    wire.act = answering(200)
    from_letta = replace(scope(), origin=Origin.LETTA)
    for call in (model, Call(operation="me", path="/me")):
        with pytest.raises(UpstreamUnavailable):
            await upstream.request(scope(), call)
        assert (await upstream.request(from_letta, call)).status == 200
    wire.act = forever
    tasks.append(asyncio.create_task(upstream.request(from_letta, model)))
    while wire.calls < 5:
        await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable) as caught:  # bounded as well
        await upstream.request(from_letta, model)
    assert caught.value.reason == "BULKHEAD_FULL"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("status", "counts"), [(500, True), (503, True), (404, False), (401, False), (408, False)])
async def test_what_counts_as_a_failure(status: int, counts: bool) -> None:
    upstream, _, _ = upstream_with(answering(status), breaker_failures=3)
    for _ in range(3):
        with contextlib.suppress(UpstreamError, UpstreamRejected):
            await ask(upstream, caller="a")
    assert parts(upstream) == ({"me": "open"} if counts else {})


@pytest.mark.parametrize("status", [429, 501, 200, 301, 304])
async def test_what_does_not_count_as_a_failure(status: int) -> None:
    upstream, _, _ = upstream_with(answering(status), breaker_failures=1)
    with contextlib.suppress(UpstreamError, UpstreamRejected):
        await ask(upstream)
    assert parts(upstream) == {}


async def test_half_open_admits_one_trial_call_and_another_after_a_cancelled_one() -> None:
    upstream, wire, _ = upstream_with(answering(500), breaker_failures=1, breaker_reset=0.001)
    with pytest.raises(UpstreamError):
        await ask(upstream, caller="a")
    await asyncio.sleep(0.002)
    wire.act = forever
    trial = asyncio.create_task(ask(upstream, caller="a"))
    while wire.calls < 2:
        await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable) as caught:
        await ask(upstream, caller="a")
    assert caught.value.reason == "BREAKER_OPEN"
    assert caught.value.message == "AMS (me) keeps failing: its breaker is open. Retry in 1 s."
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    assert parts(upstream) == {"me": "half-open"}
    wire.act = answering(200)
    await ask(upstream, caller="a")
    assert parts(upstream) == {}


async def test_an_outcome_from_before_a_change_of_state_does_not_count() -> None:
    release = asyncio.Event()

    async def late(_: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200, content=b"{}")

    upstream, wire, _ = upstream_with(late, breaker_failures=1)
    slow = asyncio.create_task(ask(upstream, caller="a"))
    while wire.calls < 1:
        await asyncio.sleep(0)
    wire.act = answering(500)
    with pytest.raises(UpstreamError):
        await ask(upstream, caller="a")
    release.set()
    await slow
    assert parts(upstream) == {"me": "open"}


@pytest.mark.parametrize("error", [httpx.ConnectError(""), httpx.ConnectTimeout("")])
async def test_failed_connections_open_the_breaker_for_all_callers(error: Exception) -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        raise error

    upstream, wire, observer = upstream_with(act)
    for _ in range(5):
        with pytest.raises(UpstreamUnavailable):
            await ask(upstream, caller="a")
    with pytest.raises(UpstreamUnavailable) as caught:
        await upstream.request(scope(5, "b"), Call(operation="other", path="/"))
    assert caught.value.reason == "BREAKER_OPEN"
    assert caught.value.message == "AMS keeps failing: its breaker is open. Retry in 1000 s."
    assert wire.calls == 5
    assert parts(upstream) == {}
    assert observer.states == [(None, BreakerState.OPEN)]


class Cut(httpx.AsyncByteStream):
    """A body that breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"data: {}\n\n"
        raise httpx.ReadError("")


async def test_a_stream_that_breaks_off_counts_as_a_failure() -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Cut(), headers={"content-type": "text/event-stream"})

    upstream, _, observer = upstream_with(act, breaker_failures=3)
    call = Call(operation="send", method="POST", path="/", model_work=True, subject="agent-1")
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await read_stream(upstream, call, "a")
        assert caught.value.reason == "CUT"
    assert parts(upstream) == {"send:agent-1": "open"}
    assert observer.outcomes == ["error"] * 3
