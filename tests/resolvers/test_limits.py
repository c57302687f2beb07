from __future__ import annotations

import pytest

from clients.errors import RateLimited
from clients.limiter import MemoryLimiter
from resolvers.limits import WINDOW_SECONDS, LimitKind, RateLimits
from tests.support.scripted_streams import refuses


class Refusals:
    def __init__(self) -> None:
        self.kinds: list[LimitKind] = []

    def request_refused(self, limit: LimitKind) -> None:
        self.kinds.append(limit)


def limits(by_kind: dict[LimitKind, int], metrics: Refusals | None = None) -> RateLimits:
    return RateLimits(MemoryLimiter(lambda: 0), by_kind, metrics or Refusals())


async def test_a_refusal_has_the_limit_with_the_longest_wait() -> None:
    metrics = Refusals()
    mine = limits({LimitKind.GENERAL: 2, LimitKind.LLM: 1}, metrics)
    await mine.count("ada", LimitKind.GENERAL, LimitKind.LLM)
    with pytest.raises(RateLimited) as refused:
        await mine.count("ada", LimitKind.GENERAL, LimitKind.LLM)
    error = refused.value
    assert (error.reason, error.http_status, error.retryable) == ("RATE_LIMIT_LLM", 429, True)
    # nothing of this minute has faded before the next is over
    assert error.retry_after_seconds == 2 * WINDOW_SECONDS
    await mine.count("ada", LimitKind.GENERAL)
    assert metrics.kinds == [LimitKind.LLM]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (LimitKind.GENERAL, "RATE_LIMIT_GENERAL"),
        (LimitKind.LLM, "RATE_LIMIT_LLM"),
        (LimitKind.PROXY, "RATE_LIMIT_PROXY"),
    ],
)
async def test_a_refusal_has_the_reason_of_its_limit(kind: LimitKind, reason: str) -> None:
    mine = limits({kind: 1})
    await mine.count("ada", kind)
    with refuses(RateLimited, reason):
        await mine.count("ada", kind)


async def test_a_disabled_limit_refuses_nothing_and_is_not_listed() -> None:
    mine = limits({LimitKind.GENERAL: 0, LimitKind.PROXY: 1})
    for _ in range(5000):
        await mine.count("ada", LimitKind.GENERAL, LimitKind.LLM)
    assert (await mine.charge("ada", LimitKind.GENERAL)).standings == ()
    await mine.give_back("ada", LimitKind.GENERAL)
    assert [limit.kind for limit in await mine.of("ada")] == [LimitKind.PROXY]
    await limits({}).count("ada", *LimitKind)
    assert await limits({}).of("ada") == []


async def test_the_limits_of_a_user_are_listed() -> None:
    mine = limits({LimitKind.GENERAL: 3, LimitKind.LLM: 3})
    await mine.count("ada", LimitKind.GENERAL)
    general, llm = await mine.of("ada")
    assert (general.kind, general.limit, general.remaining, general.window_seconds) == (LimitKind.GENERAL, 3, 2, 60)
    assert general.resets_at is not None
    assert (llm.remaining, llm.resets_at) == (3, None)
    assert [limit.remaining for limit in await mine.of("grace")] == [3, 3]
