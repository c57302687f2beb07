from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from clients.calls import Call, CallBudget, CallScope
from clients.errors import GatewayError, QueryTooComplex, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.retries import MAX_RETRIES, SAVED_CALLS, RetryBudget
from clients.upstream import Upstream
from tests.support.upstream_calls import (
    Act,
    answering,
    ask,
    cancelled,
    failing,
    forever,
    parts,
    raised,
    read_stream,
    scope,
    upstream_with,
)

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
REFUSED, CUT = failing(httpx.ConnectError("")), failing(httpx.ReadError(""))


def in_turn(*acts: Act) -> Act:
    """Return an upstream that answers the first calls with these acts, and all later calls with the last."""
    left = list(acts)

    async def act(request: httpx.Request) -> httpx.Response:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return act


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("failure", "cause", "always"),
    [
        (REFUSED, "connect", True),
        (failing(httpx.ConnectTimeout("")), "connect", True),
        (CUT, "cut", False),
        (failing(httpx.RemoteProtocolError("")), "cut", False),
        (answering(500), "status", False),
        (answering(503), "status", False),
        (answering(429), "rate_limit", False),
    ],
)
async def test_a_call_is_repeated_if_nothing_can_happen_twice(
    method: str, failure: Act, cause: str, always: bool
) -> None:
    upstream, wire, observer = upstream_with(in_turn(failure, answering()))
    call = Call("x", "/", method)
    if always or method == "GET":
        assert (await upstream.request(scope(), call)).status == 200
        assert (wire.calls, observer.retried) == (2, [cause])
        assert observer.outcomes[-1] == "ok"
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011 - each failure has its own error
            await upstream.request(scope(), call)
        assert (wire.calls, observer.retried) == (1, [])


@pytest.mark.parametrize("act", [answering(400), answering(404), answering(501), answering(302), answering(304)])
async def test_a_call_whose_answer_would_be_the_same_is_not_repeated(act: Act) -> None:
    upstream, wire, _ = upstream_with(act)
    with pytest.raises(Exception):  # noqa: B017, PT011 - each answer has its own error
        await ask(upstream)
    assert wire.calls == 1


async def test_a_call_with_an_unreadable_or_too_large_answer_is_not_repeated() -> None:
    for parts_ in ({"content": b"x" * 2000}, {"content": b"x", "headers": {"content-encoding": "br"}}):
        upstream, wire, _ = upstream_with(answering(**parts_), max_bytes=100)
        await raised(UpstreamError, ask(upstream))
        assert wire.calls == 1


async def test_a_timeout_is_not_repeated() -> None:
    for act, seconds in ((forever, 0.05), (failing(httpx.ReadTimeout("")), 5), (failing(httpx.WriteTimeout("")), 5)):
        upstream, wire, _ = upstream_with(act)
        await raised(UpstreamTimeout, ask(upstream, seconds))
        assert wire.calls == 1


async def test_a_call_is_repeated_at_most_twice_and_has_the_last_error() -> None:
    upstream, wire, observer = upstream_with(in_turn(CUT, CUT, answering(503)))
    assert (await raised(UpstreamError, ask(upstream))).reason == "STATUS"
    assert wire.calls == 1 + MAX_RETRIES
    assert observer.outcomes == ["error"] * 3


async def test_a_stream_is_opened_again_only_if_nothing_was_sent() -> None:
    opens = answering(content=b"data: 1\n\n", headers={"content-type": "text/event-stream"})
    call = Call("x", "/", "POST", model_work=True)
    upstream, wire, observer = upstream_with(in_turn(REFUSED, opens))
    assert await read_stream(upstream, call, opens_within=5) == b"data: 1\n\n"
    assert (wire.calls, observer.retried, upstream.is_idle) == (2, ["connect"], True)
    upstream, wire, _ = upstream_with(in_turn(CUT, opens))
    await raised(UpstreamError, read_stream(upstream, call, opens_within=5))
    assert (wire.calls, upstream.is_idle) == (1, True)


@pytest.mark.parametrize(("after", "waits"), [("0.05", True), ("2.1", False), ("86400", False)])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_short_retry_after_is_waited_for_and_a_long_one_fails_at_once(
    status: int, after: str, waits: bool
) -> None:
    refusing = answering(status, headers={"Retry-After": after})
    upstream, wire, _ = upstream_with(in_turn(refusing, answering()))
    began = time.monotonic()
    if waits:
        await ask(upstream)
        assert time.monotonic() - began >= 0.05
    else:
        with pytest.raises(Exception):  # noqa: B017, PT011 - a refusal, or a failure
            await ask(upstream)
        assert time.monotonic() - began < 1
    assert wire.calls == 1 + waits


async def test_a_retry_that_does_not_fit_the_deadline_fails_at_once() -> None:
    upstream, wire, _ = upstream_with(answering(503, headers={"Retry-After": "1"}), fair=0.5)
    began = time.monotonic()
    failed = await raised(UpstreamError, ask(upstream, 1.4))
    assert (failed.reason, failed.retry_after_seconds, wire.calls) == ("STATUS", 1, 1)
    assert time.monotonic() - began < 0.4


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.1, 29, 30), (1.0, 290, 300)])
async def test_the_retries_of_a_failing_service_are_a_share_of_its_calls(share: float, least: int, most: int) -> None:
    upstream, wire, observer = upstream_with(
        answering(503), breaker_failures=10**6, breaker_calls=10**6, backoff=0, retry_share=share
    )
    for _ in range(200):
        await raised(UpstreamError, ask(upstream))
    assert wire.calls == 200 + len(observer.retried)
    assert least <= len(observer.retried) <= most


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=300))
def test_the_budget_never_allows_more_than_its_share(share: float, steps: list[bool]) -> None:
    budget, earned, spent = RetryBudget(share), 0, 0
    for earns in steps:
        if earns:
            budget.earn()
            earned += 1
        elif budget.spend():
            spent += 1
        assert spent <= (SAVED_CALLS + earned) * share + 1e-6


async def test_a_breaker_that_opens_ends_the_retries() -> None:
    upstream, wire, _ = upstream_with(REFUSED, breaker_failures=1)
    assert (await raised(UpstreamUnavailable, ask(upstream))).reason == "CONNECT"
    assert wire.calls == 1
    assert (await raised(UpstreamUnavailable, ask(upstream))).reason == "BREAKER_OPEN"


async def test_a_breaker_that_opens_during_the_wait_ends_the_retries_with_the_first_error() -> None:
    upstream, wire, observer = upstream_with(CUT, breaker_failures=2, backoff=0.2)
    waiting = [asyncio.create_task(ask(upstream, caller="a")) for _ in range(2)]
    for task in waiting:
        assert (await raised(UpstreamError, task)).reason == "CUT"
    assert (wire.calls, observer.retried) == (2, ["cut"])


async def test_a_call_and_its_retries_count_as_one_failure() -> None:
    upstream, wire, _ = upstream_with(CUT, breaker_failures=2)
    await raised(UpstreamError, ask(upstream, caller="a"))
    assert (wire.calls, parts(upstream)) == (3, {})
    await raised(UpstreamError, ask(upstream, caller="a"))
    assert (wire.calls, parts(upstream)) == (4, {"me": "open"})


async def test_a_failed_trial_call_is_not_repeated() -> None:
    upstream, wire, _ = upstream_with(CUT, breaker_failures=1, breaker_reset=0.01)
    await raised(UpstreamError, ask(upstream, caller="a"))
    await asyncio.sleep(0.02)
    before = wire.calls
    await raised(UpstreamError, ask(upstream, caller="a"))
    assert wire.calls == before + 1


def limited(calls: int) -> CallScope:
    return replace(scope(), budget=CallBudget(calls))


@pytest.mark.parametrize(("calls", "made"), [(1, 1), (2, 2), (3, 3), (9, 3)])
async def test_a_retry_needs_a_call_of_the_operations_budget_and_never_exceeds_it(calls: int, made: int) -> None:
    upstream, wire, _ = upstream_with(CUT)
    asked = limited(calls)
    assert (await raised(GatewayError, upstream.request(asked, Call("x", "/")))).reason == "CUT"
    assert wire.calls == made
    if made == calls:
        await raised(QueryTooComplex, upstream.request(asked, Call("x", "/")))


async def test_a_waiting_retry_holds_no_slot_and_can_be_cancelled() -> None:
    upstream, wire, _ = upstream_with(CUT, max_concurrent=1, backoff=1000, fair=0)
    waiting = asyncio.create_task(upstream.request(scope(10_000, "a"), Call("x", "/")))
    await reached(upstream, lambda: wire.calls == 1 and upstream.is_idle)
    wire.act = answering()
    await ask(upstream)
    await cancelled(waiting)
    assert wire.calls == 2


async def reached(upstream: Upstream, check: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0)
