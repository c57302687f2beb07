"""Both limiters, with a clock that the test controls, and the rules that every limiter keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from unittest.mock import patch

from clients.limiter import Budget, Charge, Limiter, Standing, Verdict
from clients.state.connection import RedisConnection
from clients.state.limits import RedisLimiter
from tests.support.state import connected

MINUTE = 60_000
"""A window, in milliseconds, as the clock of these tests counts."""

_STORED_CLOCK = "local now = tonumber(redis.call('GET', 'clock'))"


class Clock:
    """A clock that the test advances, in milliseconds."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now * 1_000_000


class ClockedLimiter:
    """A limiter in Redis that tells Redis the test's time before each call."""

    def __init__(self, connection: RedisConnection, clock: Clock) -> None:
        self._connection = connection
        self.limiter = RedisLimiter(connection, _STORED_CLOCK)
        self._clock = clock

    async def take(self, user: str, charges: Sequence[Charge], *, tags: bool = False) -> Verdict:
        told = self._connection.submit("SET", "clock", self._clock.now)
        verdict = await self.limiter.take(user, charges, tags=tags)
        await told
        return verdict


@asynccontextmanager
async def redis_limiter(url: str, clock: Clock) -> AsyncIterator[ClockedLimiter]:
    """Open a limiter in a database, which is emptied first. The limiter waits for Redis on a busy machine."""
    with patch("clients.state.connection.COMMAND_SECONDS", 20):
        async with connected(url) as connection:
            await connection.command("FLUSHDB")
            yield ClockedLimiter(connection, clock)


def budget(limit: int, name: str = "general") -> Budget:
    return Budget(name, limit, 60)


async def take(limiter: Limiter, cost: int, of: Budget, user: str = "ada") -> tuple[bool, Standing]:
    verdict = await limiter.take(user, [Charge(of, cost)])
    [standing] = verdict.standings
    return verdict.allowed, standing


async def admitted(
    limiter: Limiter, clock: Clock, limit: int, charges: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the times of the admitted charges. Checks every verdict."""
    passed = []
    for pause, cost in charges:
        clock.now += pause
        before = (await take(limiter, 0, budget(limit)))[1]
        if cost > limit:
            continue
        allowed, standing = await take(limiter, cost, budget(limit))
        assert allowed is (cost <= before.remaining)
        assert standing.remaining == before.remaining - (cost if allowed else 0)
        assert (standing.retry_after > 0) is not allowed
        if allowed:
            passed.append((clock.now, cost))
    return passed


Rule: TypeAlias = Callable[[Limiter, Clock, int, list[tuple[int, int]]], Awaitable[None]]
"""Checks a limiter with a limit and charges: milliseconds since the charge before, and the cost."""


async def no_window_on_the_clock_holds_more_than_the_limit_and_no_other_more_than_twice(
    limiter: Limiter, clock: Clock, limit: int, charges: list[tuple[int, int]]
) -> None:
    passed = await admitted(limiter, clock, limit, charges)
    for since in {when // MINUTE * MINUTE for when, _ in passed}:
        assert sum(cost for when, cost in passed if since <= when < since + MINUTE) <= limit
    for since, _ in passed:
        assert sum(cost for when, cost in passed if since <= when < since + MINUTE) <= 2 * limit


async def a_charge_is_admitted_after_its_wait_and_not_before(
    limiter: Limiter, clock: Clock, limit: int, charges: list[tuple[int, int]]
) -> None:
    limits = budget(limit)
    for pause, one in [*charges, (0, 1), (0, 1)]:
        clock.now += pause
        if one > limit:
            continue
        allowed, standing = await take(limiter, one, limits)
        if allowed:
            continue
        wait = round(standing.retry_after * 1000)
        assert 0 < wait <= 2 * MINUTE
        clock.now += wait - 1
        assert not (await take(limiter, one, limits))[0]
        clock.now += 1
        assert (await take(limiter, one, limits))[0]


async def the_whole_limit_is_available_at_the_reset_and_not_before(
    limiter: Limiter, clock: Clock, limit: int, charges: list[tuple[int, int]]
) -> None:
    limits = budget(limit)
    for pause, one in charges:
        clock.now += pause
        if one <= limit:
            await take(limiter, one, limits)
    _, standing = await take(limiter, 0, limits)
    resets = round(standing.resets_after * 1000)
    if resets:
        clock.now += resets - 1
        assert (await take(limiter, 0, limits))[1].remaining < limit
        clock.now += 1
    assert (await take(limiter, 0, limits))[1] == Standing(limits, limit, 0, 0, clock.now // MINUTE)


async def a_refund_at_once_undoes_a_charge(
    limiter: Limiter, clock: Clock, limit: int, charges: list[tuple[int, int]]
) -> None:
    limits = budget(limit)
    for pause, one in charges:
        clock.now += pause
        before = (await take(limiter, 0, limits))[1]
        if one <= limit and (await take(limiter, one, limits))[0]:
            allowed, after = await take(limiter, -one, limits)
            assert allowed
            assert after == before
        await take(limiter, 1, limits)


async def refunds_free_at_most_the_limit(
    limiter: Limiter, clock: Clock, limit: int, charges: list[tuple[int, int]]
) -> None:
    limits = budget(limit)
    await take(limiter, limit, limits)
    for pause, cost in charges:
        clock.now += pause
        assert (await take(limiter, -10 * cost, limits))[1].remaining <= limit
        assert [(await take(limiter, 1, limits))[0] for _ in range(limit + 1)].count(True) <= limit


async def a_flexible_charge_takes_all_that_is_free_and_at_least_its_least(
    limiter: Limiter, clock: Clock, limit: int, charges: list[tuple[int, int]]
) -> None:
    limits = budget(limit)
    for pause, least in charges:
        clock.now += pause
        if least > limit:
            continue
        free = (await take(limiter, 0, limits))[1].remaining
        verdict = await limiter.take("ada", [Charge(limits, least + 2, least=least)])
        assert verdict.allowed is (least <= free)
        assert verdict.charged == ((min(free, least + 2),) if least <= free else (0,))
        assert verdict.standings[0].remaining == free - verdict.charged[0]


RULES: list[Rule] = [
    no_window_on_the_clock_holds_more_than_the_limit_and_no_other_more_than_twice,
    a_charge_is_admitted_after_its_wait_and_not_before,
    the_whole_limit_is_available_at_the_reset_and_not_before,
    a_refund_at_once_undoes_a_charge,
    refunds_free_at_most_the_limit,
    a_flexible_charge_takes_all_that_is_free_and_at_least_its_least,
]
