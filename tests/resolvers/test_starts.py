from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest

from clients.codes import Reason
from clients.errors import BadUserInput, GatewayError, UpstreamError, UpstreamTimeout
from clients.limiter import MemoryLimiter
from clients.origin import Origin
from clients.usage import Usage
from resolvers.context import RequestContext
from resolvers.limits import LimitKind, RateLimits
from resolvers.starts import Spent, need, reserve
from resolvers.tokens import Need
from tests.support.cached import changes_nothing
from tests.support.scripted_streams import refuses

LIMIT = 1000
NEED = Need(10, 40)


class Ignored:
    def request_refused(self, limit: LimitKind) -> None: ...


def signed_in(origin: Origin = Origin.USER, limit: int = LIMIT) -> tuple[RequestContext, RateLimits]:
    limits = RateLimits(MemoryLimiter(lambda: 0), {LimitKind.TOKENS: limit}, Ignored())
    user, resources = SimpleNamespace(user_id="ada"), SimpleNamespace(limits=limits)
    context = SimpleNamespace(principal=user, resources=resources, origin=origin, changed=changes_nothing)
    return cast("RequestContext", context), limits


async def used(limits: RateLimits) -> int:
    [record] = await limits.of("ada")
    return LIMIT - record.remaining


@pytest.mark.parametrize("origin", [Origin.USER, Origin.LETTA])
@pytest.mark.parametrize(("usage", "counts"), [(Usage(total_tokens=7), 7), (Usage(total_tokens=70), 70), (None, 50)])
async def test_a_call_counts_what_its_answer_reports(origin: Origin, usage: Usage | None, counts: int) -> None:
    context, limits = signed_in(origin)
    async with Spent(context, NEED) as spent:
        assert await used(limits) == (50 if origin is Origin.USER else 0)
        spent.usage = usage
    assert await used(limits) == counts


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (BadUserInput("no"), 0),
        (UpstreamError("the model failed", reason=Reason.MODEL), 0),
        (UpstreamTimeout("lost", reason=Reason.TOTAL), 50),
        (UpstreamError("cut", reason=Reason.CUT), 50),
    ],
)
async def test_a_refused_call_counts_nothing_and_a_lost_answer_counts(error: GatewayError, counts: int) -> None:
    context, limits = signed_in()
    with pytest.raises(type(error)):
        async with Spent(context, NEED):
            raise error
    assert await used(limits) == counts


async def test_a_lost_answer_without_a_maximum_counts_as_the_reservation_does() -> None:
    unbounded = Need(10)
    for_user, for_agent = signed_in(), signed_in(Origin.LETTA)
    for context, limits in (for_user, for_agent):
        with pytest.raises(UpstreamTimeout):
            async with Spent(context, unbounded):
                raise UpstreamTimeout("lost", reason=Reason.TOTAL)
        assert await used(limits) == min(LIMIT, unbounded.least + unbounded.more)


@pytest.mark.parametrize("origin", Origin)
async def test_nothing_is_reserved_if_tokens_are_unlimited(origin: Origin) -> None:
    context, _ = signed_in(origin, limit=0)
    assert await reserve(context, NEED) is None


def test_tokens_are_estimated_only_for_a_limit_or_a_maximum_cost() -> None:
    body = {"messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 7}
    unlimited, limited = signed_in(limit=0)[0], signed_in()[0]
    assert need(unlimited, body) == Need(0)
    assert need(limited, body) == need(unlimited, body, is_bounded=True) == Need(100, 7)


async def test_a_cancelled_call_counts_because_litellm_runs_on() -> None:
    context, limits = signed_in()

    async def call() -> None:
        async with Spent(context, NEED):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert await used(limits) == 50


async def test_a_call_that_can_never_fit_is_refused_unless_an_agent_makes_it() -> None:
    huge = Need(LIMIT, 1)
    for_user, for_agent = signed_in(), signed_in(Origin.LETTA)
    with refuses(BadUserInput, "TOO_MANY_TOKENS"):
        async with Spent(for_user[0], huge):
            pass
    async with Spent(for_agent[0], huge) as spent:
        spent.usage = Usage(total_tokens=LIMIT + 1)
    assert (await used(for_user[1]), await used(for_agent[1])) == (0, LIMIT)
