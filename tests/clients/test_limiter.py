"""The behaviour of rate limiters, in memory and in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.limiter import Budget, Charge, Limiter, MemoryLimiter, Verdict
from tests.support.limiters import (
    MINUTE,
    RULES,
    Clock,
    Rule,
    admitted,
    budget,
    redis_limiter,
    take,
)
from tests.support.redis_server import RedisServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs_redis)])
async def limiter(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimiter(clock)
        return
    async with redis_limiter(request.getfixturevalue("redis_url"), clock) as opened:
        yield opened


LIMITS = st.integers(1, 20)
BEGINS = st.integers(0, 3 * MINUTE)


def charges_of(most: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Charges: milliseconds since the one before, and the cost."""
    return st.lists(st.tuples(st.integers(0, MINUTE), st.integers(1, 3)), max_size=most)


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
@given(limit=LIMITS, charges=charges_of(80), begins=BEGINS)
async def test_the_limiter_in_memory(rule: Rule, limit: int, charges: list[tuple[int, int]], begins: int) -> None:
    clock = Clock(begins)
    await rule(MemoryLimiter(clock), clock, limit, charges)


@pytest.mark.needs_redis
@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
@settings(max_examples=20)
@given(limit=LIMITS, charges=charges_of(12), begins=BEGINS)
async def test_the_limiter_in_redis(
    shared_redis: RedisServer, rule: Rule, limit: int, charges: list[tuple[int, int]], begins: int
) -> None:
    clock = Clock(begins)
    async with redis_limiter(shared_redis.url(), clock) as limiter:
        await rule(limiter, clock, limit, charges)


NEW = st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.none(), st.none() | st.integers(1, 3))
CORRECTIONS = st.tuples(st.sampled_from("abc"), st.integers(-6, 6), st.none() | st.sampled_from([0, 1, 2]), st.none())
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1]) | st.integers(0, 2 * MINUTE),
        st.lists(NEW | NEW | CORRECTIONS, max_size=3, unique_by=lambda one: one[0]),
    ),
    max_size=40,
)
"""Milliseconds since the call before, and charges: the budget, the cost, the age of the corrected window, ``least``."""

BUDGETS = {"a": Budget("a", 10, 60), "b": Budget("b", 3, 60), "c": Budget("c", 6, 7)}


def possible(charge: Charge) -> bool:
    return charge.needed <= charge.budget.limit


@pytest.mark.needs_redis
@settings(max_examples=40)
@given(steps=STEPS, begins=BEGINS)
async def test_both_limiters_return_the_same_verdicts(
    shared_redis: RedisServer, steps: list[tuple[int, list[tuple[str, int, int | None, int | None]]]], begins: int
) -> None:
    clock = Clock(begins)
    memory = MemoryLimiter(clock)
    async with redis_limiter(shared_redis.url(), clock) as redis:
        for pause, asked in steps:
            clock.now += pause
            charges = []
            for name, cost, age, least in asked:
                limits = BUDGETS[name]
                window = None if age is None else clock.now // (limits.window * 1000) - age
                charges.append(Charge(limits, cost, window, least))
            charges = [charge for charge in charges if possible(charge)]
            assert await redis.take("ada", charges) == await memory.take("ada", charges)


async def take_each(limiter: Limiter, *charges: Charge) -> Verdict:
    return await limiter.take("ada", charges)


async def test_the_worst_window_holds_one_less_than_twice_the_limit(limiter: Limiter, clock: Clock) -> None:
    charges = [(MINUTE - 1, 1), *[(0, 1)] * 9, (MINUTE - 1, 1), *[(0, 1)] * 9]
    passed = await admitted(limiter, clock, 10, charges)
    assert len(passed) == 19
    assert passed[-1][0] - passed[0][0] < MINUTE


async def test_a_refund_in_the_next_window_reduces_the_previous_one(limiter: Limiter, clock: Clock) -> None:
    limits = budget(10)
    await take(limiter, 10, limits)
    clock.now = MINUTE
    assert (await take(limiter, 0, limits))[1].remaining == 0
    await take(limiter, -4, limits)
    assert (await take(limiter, 0, limits))[1].remaining == 4


async def test_a_correction_applies_to_the_window_of_its_charge(limiter: Limiter, clock: Clock) -> None:
    limits = budget(10)
    window = (await take(limiter, 10, limits))[1].window
    clock.now = 3 * MINUTE // 2  # half of the charge has faded
    await take(limiter, 2, limits)
    [refunded] = (await take_each(limiter, Charge(limits, -4, window))).standings
    assert refunded.remaining == 10 - 2 - 6 // 2, "the current window's charges stay"
    [extra] = (await take_each(limiter, Charge(limits, 50, window))).standings
    assert (extra.remaining, extra.retry_after) == (0, 0), "an additional cost is never refused"
    clock.now = 4 * MINUTE
    [late] = (await take_each(limiter, Charge(limits, -6, window))).standings
    assert late.remaining == 10, "a charge that no longer counts gives nothing back"


async def test_a_clock_that_is_set_back_does_not_freeze_the_counters(limiter: Limiter, clock: Clock) -> None:
    clock.now = 1000 * MINUTE
    assert (await take(limiter, 3, budget(3)))[0]
    clock.now -= MINUTE
    assert not (await take(limiter, 1, budget(3)))[0]
    clock.now -= 60 * MINUTE
    assert (await take(limiter, 3, budget(3)))[1].remaining == 0
    assert not (await take(limiter, 1, budget(3)))[0]
    clock.now += 2 * MINUTE
    assert (await take(limiter, 3, budget(3)))[0]


async def test_all_budgets_are_charged_or_none(limiter: Limiter) -> None:
    wide, tight = budget(10, "wide"), budget(1, "tight")
    both = [Charge(wide), Charge(tight)]
    assert (await take_each(limiter, *both)).allowed
    refused = await take_each(limiter, *both)
    assert not refused.allowed
    assert [(one.budget.name, one.remaining, one.retry_after > 0) for one in refused.standings] == [
        ("wide", 9, False),
        ("tight", 0, True),
    ]
    assert (await take(limiter, 0, wide))[1].remaining == 9


async def test_a_limit_is_exact_for_300_takers_at_once(limiter: Limiter) -> None:
    verdicts = await asyncio.gather(*(take(limiter, 1, budget(137)) for _ in range(300)))
    assert [allowed for allowed, _ in verdicts].count(True) == 137


async def test_users_are_counted_apart(limiter: Limiter) -> None:
    limits = budget(1)
    assert (await take(limiter, 1, limits))[0]
    assert not (await take(limiter, 1, limits))[0]
    assert (await take(limiter, 1, limits, "grace"))[0]


async def test_a_cost_over_the_limit_is_an_error(limiter: Limiter) -> None:
    with pytest.raises(ValueError, match="general"):
        await take(limiter, 3, budget(2))


async def test_no_charges_are_always_admitted(limiter: Limiter) -> None:
    assert await limiter.take("ada", []) == Verdict(allowed=True, standings=(), charged=())


async def test_a_charge_can_need_room_that_it_does_not_take(limiter: Limiter) -> None:
    probe = Charge(budget(2), 0, least=1)
    assert (await take_each(limiter, probe)).charged == (0,)
    await take(limiter, 2, budget(2))
    refused = await take_each(limiter, probe, Charge(budget(5, "other")))
    assert not refused.allowed
    assert refused.standings[0].retry_after > 0
    assert (await take(limiter, 0, budget(5, "other")))[1].remaining == 5


async def test_idle_counters_expire_and_a_read_adds_none() -> None:
    clock, limits = Clock(), budget(5)
    limiter = MemoryLimiter(clock)
    for number in range(1000):
        await take(limiter, 1, limits, f"user {number}")
        await take(limiter, 0, limits, f"reads {number}")
    assert limiter.kept == 1000
    for step in range(1, 1000):
        clock.now = 2 * MINUTE + step
        await take(limiter, 1, limits, "stays")
        await take(limiter, 0, limits, "user 0")
    assert limiter.kept == 1
    assert not (await take(limiter, 1, limits, "stays"))[0]
