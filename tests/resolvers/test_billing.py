"""A streamed completion's reservation, whatever happens to its bill."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from types import SimpleNamespace
from typing import Any, Self

import pytest

from clients.errors import GatewayError, NotFound
from clients.limiter import MemoryLimiter
from clients.litellm.streams import Piece
from clients.origin import Origin
from resolvers.limits import LimitKind, RateLimits
from resolvers.sources import completions
from resolvers.sources.completions import CompletionSource
from resolvers.streams.memory import MemoryLog
from resolvers.streams.timeouts import Timeouts
from resolvers.tokens import Need, Tally
from tests.support.cached import changes_nothing

LIMIT = 1000
NEED = Need(10, 100)


class Opened:
    """A model's answer: 4 pieces, and then silence."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.usage = None
        self.left = 4

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        if not self.left:
            await asyncio.Event().wait()
        self.left -= 1
        return [Piece(text="abc")]


class Ignored:
    def request_refused(self, limit: LimitKind) -> None: ...


def source_of(limit: int, **litellm: Any) -> tuple[CompletionSource, RateLimits]:
    limits = RateLimits(MemoryLimiter(lambda: 0), {LimitKind.TOKENS: limit}, Ignored())
    resources = SimpleNamespace(
        limits=limits,
        timeouts=Timeouts(request=9, llm_total=9, first_token=9, idle=9),
        litellm=SimpleNamespace(stream=lambda *_, **__: Opened(), **litellm),
        platform_key=None,
    )
    user = SimpleNamespace(user_id="ada")
    context: Any = SimpleNamespace(
        resources=resources,
        model_scope=lambda: None,
        origin=Origin.USER,
        principal=user,
        scope=None,
        changed=changes_nothing,
    )
    context.renewed = lambda: context
    body = b'{"model":"m","messages":[]}'
    return CompletionSource(context, "key", body, NEED, wants_usage=True, max_cost=litellm.get("max_cost")), limits


async def used(limits: RateLimits) -> int:
    return sum(LIMIT - record.remaining for record in await limits.of("ada"))


async def abandon(source: CompletionSource) -> None:
    """Read 4 pieces of an answer, and close the answer."""
    async with aclosing(source.events()) as events:
        for _ in range(5):
            await anext(events)


@pytest.mark.parametrize("error", [None, ValueError("a bug")])
async def test_a_reservation_is_settled_even_if_there_is_no_bill(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_bill(*_: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(completions, "bill", no_bill)
    source, limits = source_of(LIMIT)
    await abandon(source)
    assert await used(limits) == NEED.least
    with suppress(ValueError):
        await source.settle(MemoryLog("stream:1"))
    assert await used(limits) == NEED.prompt + 4


async def test_no_token_is_counted_if_nothing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        pytest.fail("tokens were counted")

    monkeypatch.setattr(Tally, "add", never)
    await abandon(source_of(0)[0])


async def test_a_refused_maximum_cost_gives_the_reservation_back() -> None:
    async def models(*_: object) -> list[object]:
        return []

    source, limits = source_of(LIMIT, models=models, max_cost=1)
    with pytest.raises(NotFound):
        await anext(source.events())
    assert await used(limits) == NEED.least
    await source.settle(MemoryLog("stream:1"))
    assert await used(limits) == 0


async def test_a_user_without_tokens_causes_no_call_for_the_price() -> None:
    def models(*_: object) -> None:
        pytest.fail("LiteLLM was called")

    source, limits = source_of(NEED.least, models=models, max_cost=1)
    await limits.spend("ada", NEED.least)
    with pytest.raises(GatewayError) as refused:
        await anext(source.events())
    assert refused.value.reason == "RATE_LIMIT_TOKENS"
