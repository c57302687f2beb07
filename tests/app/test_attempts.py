from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.signin.attempts import MAX_COUNTERS, SignInAttempts
from app.signin.errors import invalid, token_expired, token_missing, token_revoked
from clients.errors import RateLimited

LIMIT = 3
SECOND = 1_000_000_000


async def failing(attempts: SignInAttempts, address: str = "a", times: int = LIMIT) -> None:
    for _ in range(times):
        await attempts.failed(address, invalid())


async def test_an_address_is_refused_above_the_limit_and_for_as_long_as_it_is_told() -> None:
    now = [0]
    attempts = SignInAttempts(LIMIT, clock=lambda: now[0])
    await failing(attempts)
    for refused in (attempts.check("a"), attempts.failed("a", invalid())):
        with pytest.raises(RateLimited) as caught:
            await refused
        assert caught.value.reason == "RATE_LIMIT_SIGN_IN"
        assert f"More than {LIMIT} sign-ins" in caught.value.message
    await attempts.check("b")
    assert caught.value.retry_after_seconds
    now[0] = int((caught.value.retry_after_seconds - 1) * SECOND)
    with pytest.raises(RateLimited):
        await attempts.check("a")
    now[0] += SECOND
    await attempts.check("a")


async def test_requests_without_a_token_delay_no_token() -> None:
    attempts = SignInAttempts(LIMIT, clock=lambda: 0)
    for _ in range(LIMIT):
        await attempts.failed("a", token_missing())
    with pytest.raises(RateLimited):
        await attempts.failed("a", token_missing())
    await attempts.check("a")
    await failing(attempts)


async def test_tokens_that_the_issuer_has_signed_do_not_count() -> None:
    attempts = SignInAttempts(LIMIT, clock=lambda: 0)
    for error in [token_expired(), token_revoked()] * LIMIT:
        await attempts.failed("a", error)
    await attempts.check("a")


async def test_without_a_limit_nothing_is_refused_or_kept() -> None:
    attempts = SignInAttempts(0)
    await failing(attempts, times=50)
    await attempts.check("a")
    assert attempts.kept == 0


@pytest.mark.bound("sign-in-counters")
async def test_the_counters_are_bounded_and_the_least_recently_used_is_evicted() -> None:
    attempts = SignInAttempts(1, clock=lambda: 0)
    for number in range(MAX_COUNTERS):
        await attempts.failed(f"{number}", invalid())
    assert attempts.kept == MAX_COUNTERS
    for address in ("0", "1"):
        with pytest.raises(RateLimited):
            await attempts.check(address)
    await attempts.failed("another", invalid())
    assert attempts.kept == MAX_COUNTERS
    await attempts.check("2")
    with pytest.raises(RateLimited):
        await attempts.check("3")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40)), max_size=60))
async def test_no_address_has_more_than_twice_the_limit_in_a_minute(asked: list[tuple[str, int]]) -> None:
    now, failed = [0], dict[str, list[int]](a=[], b=[])
    attempts = SignInAttempts(LIMIT, clock=lambda: now[0] * SECOND)
    for address, seconds in asked:
        now[0] += seconds
        try:
            await attempts.check(address)
        except RateLimited:
            assert any(at > now[0] - 120 for at in failed[address]), "its own failures refuse it, no neighbour's"
            continue
        await attempts.failed(address, invalid())
        failed[address].append(now[0])
        assert sum(at > now[0] - 60 for at in failed[address]) <= 2 * LIMIT
