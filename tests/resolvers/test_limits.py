from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.errors import BadUserInput, RateLimited
from clients.limiter import MemoryLimiter
from resolvers.limits import WINDOW_SECONDS, LimitKind, RateLimits, Reservation
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
        (LimitKind.TOKENS, "RATE_LIMIT_TOKENS"),
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


WINDOW = WINDOW_SECONDS * 1000
USERS = ("ada", "grace")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.sampled_from(USERS), st.integers(1, 120), st.integers(0, 120)),
        st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 250), st.just(0)),
        st.tuples(st.just("spend"), st.sampled_from(USERS), st.integers(0, 250), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 2 * WINDOW), st.just(0), st.just(0)),
    ),
    max_size=40,
)


class Books:
    """The tokens of each user and window, kept without limit: what the limiter must know of the last two windows."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now = 0
        self.windows: dict[str, Counter[int]] = {user: Counter() for user in USERS}

    @property
    def window(self) -> int:
        return self.now // WINDOW

    def free(self, user: str) -> int:
        """Return the free tokens, multiplied by the length of a window."""
        counted = self.windows[user]
        left = WINDOW - self.now % WINDOW
        return (self.limit - counted[self.window]) * WINDOW - counted[self.window - 1] * left


@given(limit=st.integers(1, 200), steps=STEPS)
async def test_reserving_settling_and_refunding_conserve_tokens(limit: int, steps: list[tuple[Any, ...]]) -> None:
    books = Books(limit)
    mine = RateLimits(MemoryLimiter(lambda: books.now * 1_000_000), {LimitKind.TOKENS: limit}, Refusals())
    held: list[tuple[str, int, Reservation]] = []
    used_in_all = dict.fromkeys(USERS, 0)

    async def settle(user: str, window: int, reservation: Reservation, used: int) -> None:
        await reservation.settle(used)
        await reservation.settle(used + 7)  # only the first one counts
        more = used - reservation.tokens
        books.windows[user][window if more < 0 else books.window] += more
        used_in_all[user] += used

    for action, who, amount, more in steps:
        match action:
            case "reserve":
                tokens = max(amount, min(amount + more, books.free(who) // WINDOW))
                try:
                    reservation = await mine.reserve(who, amount, more)
                except BadUserInput:
                    assert amount > limit
                    continue
                except RateLimited:
                    assert books.free(who) < tokens * WINDOW
                    continue
                assert reservation is not None
                assert books.free(who) >= tokens * WINDOW, "no call is admitted beyond the limit"
                assert amount <= reservation.tokens == tokens
                books.windows[who][books.window] += tokens
                held.append((who, books.window, reservation))
            case "settle" if held:
                await settle(*held.pop(who % len(held)), amount)
            case "spend":
                await mine.spend(who, amount)
                books.windows[who][books.window] += amount
                used_in_all[who] += amount
            case "wait":
                books.now += who
        for user in USERS:
            [record] = await mine.of(user)
            assert record.remaining == max(0, books.free(user) // WINDOW)
    for one in held:
        await settle(*one, 0)
    for user in USERS:
        [record] = await mine.of(user)
        assert record.remaining == max(0, books.free(user) // WINDOW) <= limit
        assert books.windows[user].total() == used_in_all[user], "what was not used was given back, once"
        assert min(books.windows[user].values(), default=0) >= 0


async def test_a_call_over_the_whole_limit_can_never_fit() -> None:
    mine = limits({LimitKind.TOKENS: 100})
    with refuses(BadUserInput, "TOO_MANY_TOKENS"):
        await mine.reserve("ada", 101)
    whole = await mine.reserve("ada", 100, 50)
    assert whole is not None
    assert whole.tokens == 100
    with refuses(RateLimited, "RATE_LIMIT_TOKENS"):
        await mine.reserve("ada", 1)
    await whole.settle(70)
    rest = await mine.reserve("ada", 10, 50)
    assert rest is not None
    assert rest.tokens == 30, "a call without a maximum gets what is left"


async def test_without_a_limit_nothing_is_reserved() -> None:
    mine = limits({})
    assert await mine.reserve("ada", 10**9) is None
    await mine.spend("ada", 10**9)
    assert await mine.of("ada") == []
