from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.limiter import Budget, Charge, Limiter, MemoryLimiter, Standing, Verdict

MINUTE = 60_000
"""A window, in milliseconds, as the clock of these tests counts."""


class Clock:
    """A clock that the test advances, in milliseconds."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now * 1_000_000


def budget(limit: int, name: str = "general") -> Budget:
    return Budget(name, limit, 60)


async def take(limiter: Limiter, cost: int, of: Budget, user: str = "ada") -> tuple[bool, Standing]:
    verdict = await limiter.take(user, [Charge(of, cost)])
    [standing] = verdict.standings
    return verdict.allowed, standing


async def take_each(limiter: Limiter, *charges: Charge, user: str = "ada") -> Verdict:
    return await limiter.take(user, charges)


LIMITS = st.integers(1, 20)
CHARGES = st.lists(st.tuples(st.integers(0, MINUTE), st.integers(1, 3)), max_size=80)
"""Charges: milliseconds since the one before, and the cost."""


async def admitted(limit: int, charges: Sequence[tuple[int, int]], begins: int) -> list[tuple[int, int]]:
    """Return the times of the admitted charges. Checks every verdict."""
    clock = Clock(begins)
    limiter, passed = MemoryLimiter(clock), []
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


@given(limit=LIMITS, charges=CHARGES, begins=st.integers(0, 3 * MINUTE))
async def test_no_window_on_the_clock_holds_more_than_the_limit_and_no_other_more_than_twice(
    limit: int, charges: list[tuple[int, int]], begins: int
) -> None:
    passed = await admitted(limit, charges, begins)
    for since in {when // MINUTE * MINUTE for when, _ in passed}:
        assert sum(cost for when, cost in passed if since <= when < since + MINUTE) <= limit
    for since, _ in passed:
        assert sum(cost for when, cost in passed if since <= when < since + MINUTE) <= 2 * limit


async def test_the_worst_window_holds_one_less_than_twice_the_limit() -> None:
    passed = await admitted(10, [(MINUTE - 1, 1), *[(0, 1)] * 9, (MINUTE - 1, 1), *[(0, 1)] * 9], 0)
    assert len(passed) == 19
    assert passed[-1][0] - passed[0][0] < MINUTE


@given(limit=LIMITS, charges=CHARGES, begins=st.integers(0, 3 * MINUTE), cost=st.integers(1, 3))
async def test_a_charge_is_admitted_after_its_wait_and_not_before(
    limit: int, charges: list[tuple[int, int]], begins: int, cost: int
) -> None:
    clock, limits = Clock(begins), budget(limit)
    limiter = MemoryLimiter(clock)
    for pause, one in [*charges, (0, 1), (0, 1), (0, min(cost, limit))]:
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


@given(limit=LIMITS, charges=CHARGES, begins=st.integers(0, 3 * MINUTE))
async def test_the_whole_limit_is_available_at_the_reset_and_not_before(
    limit: int, charges: list[tuple[int, int]], begins: int
) -> None:
    clock, limits = Clock(begins), budget(limit)
    limiter = MemoryLimiter(clock)
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


@given(limit=LIMITS, charges=CHARGES, begins=st.integers(0, 3 * MINUTE))
async def test_a_refund_at_once_undoes_a_charge(limit: int, charges: list[tuple[int, int]], begins: int) -> None:
    clock, limits = Clock(begins), budget(limit)
    limiter = MemoryLimiter(clock)
    for pause, one in charges:
        clock.now += pause
        before = (await take(limiter, 0, limits))[1]
        if one <= limit and (await take(limiter, one, limits))[0]:
            allowed, after = await take(limiter, -one, limits)
            assert allowed
            assert after == before
        await take(limiter, 1, limits)


@given(refunds=st.lists(st.integers(1, 50), min_size=1), pause=st.integers(0, 3 * MINUTE))
async def test_a_refund_is_at_most_what_was_charged(refunds: list[int], pause: int) -> None:
    clock, limits = Clock(), budget(10)
    limiter = MemoryLimiter(clock)
    await take(limiter, 7, limits)
    clock.now += pause
    for cost in refunds:
        assert (await take(limiter, -cost, limits))[1].remaining <= 10
    assert [(await take(limiter, 1, limits))[0] for _ in range(11)].count(True) <= 10


async def test_a_refund_in_the_next_window_reduces_the_previous_one() -> None:
    clock, limits = Clock(), budget(10)
    limiter = MemoryLimiter(clock)
    await take(limiter, 10, limits)
    clock.now = MINUTE
    assert (await take(limiter, 0, limits))[1].remaining == 0
    await take(limiter, -4, limits)
    assert (await take(limiter, 0, limits))[1].remaining == 4


async def test_a_correction_applies_to_the_window_of_its_charge() -> None:
    clock, limits = Clock(), budget(10)
    limiter = MemoryLimiter(clock)
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


async def test_all_budgets_are_charged_or_none() -> None:
    limiter = MemoryLimiter(Clock())
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


async def test_users_are_counted_apart() -> None:
    limiter, limits = MemoryLimiter(Clock()), budget(1)
    assert (await take(limiter, 1, limits))[0]
    assert not (await take(limiter, 1, limits))[0]
    assert (await take(limiter, 1, limits, "grace"))[0]


async def test_a_cost_over_the_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="general"):
        await take(MemoryLimiter(Clock()), 3, budget(2))


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
