from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx
import pytest

from clients.breaker import BreakerState
from clients.calls import Call, CallScope, UpstreamLimits, UpstreamRejected
from clients.errors import Service, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.upstream import Upstream


class Observer:
    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.states: list[BreakerState] = []

    def call_ended(
        self, service: Service, operation: str, outcome: str, seconds: float, status: int | None, request_id: str
    ) -> None:
        self.outcomes.append(outcome)

    def breaker_changed(self, service: Service, state: BreakerState) -> None:
        self.states.append(state)


class Wire(httpx.AsyncBaseTransport):
    """The transport is the seam: what it does is the test's."""

    def __init__(self, act: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
        self.act = act
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return await self.act(request)


def guard(
    act: Callable[[httpx.Request], Awaitable[httpx.Response]], **limits: float
) -> tuple[Upstream, Wire, Observer]:
    wire, observer = Wire(act), Observer()
    bounds = UpstreamLimits(**{"breaker_reset": 1000, "queue": 0.05, **limits})
    upstream = Upstream(
        Service.AMS, "http://ams", headers={"authorization": "secret"}, limits=bounds, observer=observer, transport=wire
    )
    return upstream, wire, observer


def scope(seconds: float = 5) -> CallScope:
    """Of a caller of its own, so that only the whole bulkhead is its bound."""
    return CallScope("request-1", time.monotonic() + seconds, "00-trace", caller=str(uuid.uuid4()))


def answering(status: int) -> Callable[[httpx.Request], Awaitable[httpx.Response]]:
    async def act(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=b"{}")

    return act


async def forever(_: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def ask(upstream: Upstream, seconds: float = 5) -> None:
    await upstream.request(scope(seconds), Call(operation="me", path="/me"))


async def test_the_scope_and_the_credential_go_along() -> None:
    seen: list[httpx.Request] = []

    async def act(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"{}", headers={"Set-Cookie": "a=b"})

    upstream, _, observer = guard(act)
    call = Call(operation="x", method="POST", path="/x", params=[("a", "1"), ("a", "2")], json={"b": 1})
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


async def test_a_deadline_that_is_past_costs_no_call() -> None:
    upstream, wire, observer = guard(answering(200))
    with pytest.raises(UpstreamTimeout) as caught:
        await ask(upstream, -1)
    assert caught.value.reason == "DEADLINE"
    assert wire.calls == 0
    assert observer.outcomes == ["timeout"]


async def test_a_deadline_ends_a_call_and_counts_as_a_failure() -> None:
    upstream, _, observer = guard(forever, breaker_failures=1, fair=0.01)
    with pytest.raises(UpstreamTimeout):
        await ask(upstream, 0.02)
    assert upstream.breaker_state is BreakerState.OPEN
    assert observer.states == [BreakerState.OPEN]
    assert upstream.is_idle


async def test_time_that_runs_out_is_neutral_without_a_fair_share_of_it_and_where_a_model_is_waited_for() -> None:
    upstream, _, _ = guard(forever, breaker_failures=1, fair=10)
    with pytest.raises(UpstreamTimeout):
        await ask(upstream, 0.02)
    assert upstream.breaker_state is BreakerState.CLOSED
    upstream, _, _ = guard(forever, breaker_failures=1, fair=0.01)
    call = Call(operation="complete", path="/complete", model_work=True)
    with pytest.raises(UpstreamTimeout):
        await upstream.request(scope(0.05), call)
    with pytest.raises(UpstreamTimeout) as caught:
        async with upstream.stream(scope(5), call, opens_within=0.05):
            pass
    assert caught.value.reason == "FIRST_TOKEN"
    assert upstream.breaker_state is BreakerState.CLOSED


async def test_a_5xx_that_is_about_the_call_is_a_refusal() -> None:
    upstream, _, observer = guard(answering(503), breaker_failures=1)
    call = Call(operation="x", path="/x", is_refusal=lambda answer: answer.body == b"{}")
    with pytest.raises(UpstreamRejected) as caught:
        await upstream.request(scope(), call)
    with pytest.raises(UpstreamRejected):
        async with upstream.stream(scope(), call, opens_within=1):
            pass
    assert caught.value.status == 503
    assert upstream.breaker_state is BreakerState.CLOSED
    with pytest.raises(UpstreamError):
        await upstream.request(scope(), Call(operation="x", path="/x", is_refusal=lambda _: False))
    assert upstream.breaker_state is BreakerState.OPEN
    assert observer.outcomes[:2] == ["rejected", "rejected"]


async def test_model_work_and_requests_do_not_take_each_others_room() -> None:
    upstream, wire, _ = guard(forever, max_model_calls=1)
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
    upstream, wire, observer = guard(forever, max_concurrent=2, breaker_failures=1)
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
    assert upstream.breaker_state is BreakerState.CLOSED
    assert observer.outcomes == ["unavailable", "cancelled", "cancelled"]
    wire.act = answering(200)
    await asyncio.gather(ask(upstream), ask(upstream))


@pytest.mark.parametrize("model_work", [False, True])
async def test_one_caller_leaves_room_for_the_others(model_work: bool) -> None:
    upstream, wire, _ = guard(forever, max_concurrent=8, max_model_calls=8)
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


async def test_what_comes_back_from_a_service_never_waits_for_those_who_wait_for_it() -> None:
    upstream, wire, _ = guard(forever, max_concurrent=1, max_model_calls=1, max_returning=1)
    model = Call(operation="chat.completions", path="/", model_work=True)
    tasks = [asyncio.create_task(ask(upstream)), asyncio.create_task(upstream.request(scope(), model))]
    while wire.calls < 2:
        await asyncio.sleep(0)
    wire.act = answering(200)
    returning = replace(scope(), returning=True)
    for call in (model, Call(operation="me", path="/me")):
        with pytest.raises(UpstreamUnavailable):
            await upstream.request(scope(), call)
        assert (await upstream.request(returning, call)).status == 200
    wire.act = forever
    tasks.append(asyncio.create_task(upstream.request(returning, model)))
    while wire.calls < 5:
        await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable) as caught:  # bounded as well
        await upstream.request(returning, model)
    assert caught.value.reason == "BULKHEAD_FULL"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("status", "failures"), [(500, 3), (503, 3), (404, 0), (401, 0), (408, 0), (429, 0), (200, 0)])
async def test_what_counts_as_a_failure(status: int, failures: int) -> None:
    upstream, _, _ = guard(answering(status), breaker_failures=3)
    for _ in range(3):
        try:
            await ask(upstream)
        except (UpstreamError, UpstreamRejected):
            pass
    assert upstream.breaker_state is (BreakerState.OPEN if failures == 3 else BreakerState.CLOSED)


async def test_half_open_lets_one_trial_through_and_a_cancelled_one_gives_its_place_back() -> None:
    upstream, wire, _ = guard(answering(500), breaker_failures=1, breaker_reset=0.001)
    with pytest.raises(UpstreamError):
        await ask(upstream)
    await asyncio.sleep(0.002)
    wire.act = forever
    trial = asyncio.create_task(ask(upstream))
    while wire.calls < 2:
        await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable) as caught:
        await ask(upstream)
    assert caught.value.reason == "BREAKER_OPEN"
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    assert upstream.breaker_state is BreakerState.HALF_OPEN
    wire.act = answering(200)
    await ask(upstream)
    assert upstream.breaker_state is BreakerState.CLOSED


async def test_a_late_answer_from_before_says_nothing_of_the_present_state() -> None:
    release = asyncio.Event()

    async def late(_: httpx.Request) -> httpx.Response:
        await release.wait()
        return httpx.Response(200, content=b"{}")

    upstream, wire, _ = guard(late, breaker_failures=1)
    slow = asyncio.create_task(ask(upstream))
    while wire.calls < 1:
        await asyncio.sleep(0)
    wire.act = answering(500)
    with pytest.raises(UpstreamError):
        await ask(upstream)
    release.set()
    await slow
    assert upstream.breaker_state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("http://secret@ams"), "CONNECT"),
        (httpx.ConnectTimeout(""), "CONNECT"),
        (httpx.PoolTimeout(""), "BULKHEAD_FULL"),
        (httpx.ReadTimeout(""), "DEADLINE"),
        (httpx.RemoteProtocolError("their words"), "CUT"),
    ],
)
async def test_each_error_on_the_wire_has_its_reason_and_a_safe_message(error: Exception, reason: str) -> None:
    async def act(_: httpx.Request) -> httpx.Response:
        raise error

    upstream, _, _ = guard(act)
    with pytest.raises((UpstreamError, UpstreamTimeout, UpstreamUnavailable)) as caught:
        await ask(upstream)
    assert caught.value.reason == reason
    assert "secret" not in caught.value.message
    assert "their words" not in caught.value.message
