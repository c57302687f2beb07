"""Requests that are repeated with the same idempotency key."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.codes import Reason
from clients.errors import BadUserInput, Conflict, Overloaded, RateLimited, UpstreamError, UpstreamUnavailable
from resolvers import outcome_unknown
from resolvers.idempotency import KEY_BYTES, OVERHEAD_BYTES, OWNERS, IdempotencyKeys, fingerprint
from resolvers.outcome_unknown import OutcomeUnknown
from tests.support.clock import Clock
from tests.support.scripted_streams import refuses

UNKNOWN = OutcomeUnknown(message="Unknown.")


class Acting:
    """An action that ends when ``may_end`` is set, and counts how often it has started."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.fails: Exception | None = None

    async def __call__(self) -> str:
        self.begun += 1
        mine = self.begun
        await self.may_end.wait()
        if self.fails is not None:
            raise self.fails
        return f"answer {mine}"


async def begun_with(keys: IdempotencyKeys, act: Acting, count: int = 1) -> list[asyncio.Task[Any]]:
    """Start an action under one key, and make further requests with the key while it is in flight."""
    act.may_end.clear()
    waiting = [asyncio.create_task(keys.done("ada", "k", "a", act, str)) for _ in range(count)]
    await begun(act)
    return waiting


async def begun(act: Acting, times: int = 1) -> None:
    async with asyncio.timeout(5):
        while act.begun < times:
            await asyncio.sleep(0)


async def test_each_key_of_each_owner_acts_once() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    assert [await keys.done("ada", "k", "a", act, str) for _ in range(2)] == ["answer 1", "answer 1"]
    assert await keys.done("ada", "other", "a", act, str) == "answer 2"
    assert await keys.done("grace", "k", "b", act, str) == "answer 3"
    assert act.begun == 3


async def test_requests_with_a_key_in_flight_get_the_same_answer() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    waiting = await begun_with(keys, act, 5)
    act.may_end.set()
    assert await asyncio.gather(*waiting) == ["answer 1"] * 5
    assert act.begun == 1


async def test_a_key_is_refused_with_different_input_in_flight_and_afterwards() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    [waiting] = await begun_with(keys, act)
    for _ in range(2):
        with refuses(Conflict, "KEY_REUSED"):
            await keys.done("ada", "k", "b", act, str)
        act.may_end.set()
        assert await waiting == "answer 1"


@pytest.mark.parametrize("leaving", [1, 2])
async def test_a_cancelled_request_does_not_cancel_the_action(leaving: int) -> None:
    keys, act = IdempotencyKeys(60), Acting()
    waiting = await begun_with(keys, act, 2)
    for one in waiting[:leaving]:
        one.cancel()
    await asyncio.wait(waiting[:leaving])
    act.may_end.set()
    assert await asyncio.gather(*waiting[leaving:]) == ["answer 1"] * (2 - leaving)
    assert await keys.done("ada", "k", "a", act, str) == "answer 1"


async def test_a_failure_reaches_all_waiting_requests_and_frees_the_key() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.fails = UpstreamError("down", reason=Reason.CONNECT)
    waiting = await begun_with(keys, act, 2)
    act.may_end.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [act.fails] * 2
    act.fails = None
    assert await keys.done("ada", "k", "with other input", act, str) == "answer 2"


async def test_an_answer_expires() -> None:
    clock = Clock()
    keys, act = IdempotencyKeys(60, clock=clock), Acting()
    await keys.done("ada", "k", "a", act, str)
    clock.now = 59.9
    assert await keys.done("ada", "k", "a", act, str) == "answer 1"
    clock.now = 60
    assert await keys.done("ada", "k", "b", act, str) == "answer 2"


async def test_an_answer_is_kept_from_the_end_of_its_action() -> None:
    clock = Clock()
    keys, act = IdempotencyKeys(60, clock=clock), Acting()
    [waiting] = await begun_with(keys, act)
    clock.now = 100
    act.may_end.set()
    await waiting
    clock.now = 159
    assert await keys.done("ada", "k", "a", act, str) == "answer 1"


def weighing(weight: int) -> Callable[[object], int]:
    """Return a function that gives every answer this weight."""
    return lambda _: weight


large = weighing(6 * OVERHEAD_BYTES)


def bounded(each: int = 10 * OVERHEAD_BYTES, **more: Any) -> IdempotencyKeys:
    """Return keys whose owners may each keep one large answer."""
    return IdempotencyKeys(60, memory=OWNERS * each, **more)


@pytest.mark.bound("answers-kept")
@pytest.mark.parametrize("past", [0, 1])
async def test_an_owners_oldest_answer_is_evicted_one_byte_past_the_bound(past: int) -> None:
    keys, act = bounded(), Acting()
    for key, weight in (("a", 5 * OVERHEAD_BYTES), ("b", 5 * OVERHEAD_BYTES + past)):
        await keys.done("ada", key, "", act, str, weighing(weight))
    assert await keys.knows("ada", "b")
    assert await keys.knows("ada", "a") is not bool(past)


@pytest.mark.bound("answers-kept")
@pytest.mark.parametrize("past", [0, 1])
async def test_a_new_key_is_refused_one_byte_past_the_bound_of_all_owners(past: int) -> None:
    keys, act = bounded(), Acting()
    each = 10 * OVERHEAD_BYTES
    for owner in range(OWNERS - 1):
        await keys.done(str(owner), "k", "", act, str, weighing(each))
    await keys.done("almost", "k", "", act, str, weighing(each - OVERHEAD_BYTES + past))
    with refuses(Overloaded, "KEYS") if past else nullcontext():
        await keys.done("ada", "k", "", act, str)
    assert all([await keys.knows(str(owner), "k") for owner in range(OWNERS - 1)])


async def test_a_key_acts_again_after_its_answer_was_evicted() -> None:
    keys, act = bounded(), Acting()
    for key in "abc":
        await keys.done("ada", key, "", act, str, large)
    assert await keys.done("ada", "c", "", act, str, large) == "answer 3"
    assert not await keys.knows("ada", "a")
    assert await keys.done("ada", "a", "", act, str, large) == "answer 4"


async def test_a_key_that_must_act_once_is_refused_after_its_answer_was_evicted() -> None:
    keys, act = bounded(), Acting()
    for key in "abc":
        await keys.done("ada", key, "", act, str, large, UNKNOWN)
    assert await keys.knows("ada", "a")
    with refuses(Conflict, "ANSWER_DROPPED"):
        await keys.done("ada", "a", "", act, str, large, UNKNOWN)
    with refuses(Conflict, "KEY_REUSED"):
        await keys.done("ada", "a", "other input", act, str, large, UNKNOWN)
    assert act.begun == 3
    assert await keys.done("ada", "c", "", act, str, large, UNKNOWN) == "answer 3"


async def test_a_key_with_an_unknown_outcome_is_never_evicted() -> None:
    keys, act = bounded(), Acting()
    act.fails = LOST
    with pytest.raises(Conflict):
        await keys.done("ada", "lost", "", act, str, on_unknown=UNKNOWN)
    act.fails = None
    for key in "abcdef":
        await keys.done("ada", key, "", act, str, large)
    with refuses(Conflict, "OUTCOME_UNKNOWN"):
        await keys.done("ada", "lost", "", act, str, on_unknown=UNKNOWN)


async def test_answers_of_another_owner_are_not_evicted() -> None:
    keys, act = bounded(), Acting()
    await keys.done("ada", "k", "", act, str, large)
    for number in range(100):
        await keys.done("grace", str(number), "", act, str, large)
    assert await keys.done("ada", "k", "", act, str, large) == "answer 1"


async def test_a_new_key_is_refused_if_keys_fill_the_owners_quota() -> None:
    keys, act = bounded(), Acting()
    fitting = 10 * OVERHEAD_BYTES // KEY_BYTES

    async def fill() -> None:
        for number in range(2 * fitting):
            await keys.done("ada", str(number), "", act, str, on_unknown=UNKNOWN)

    with refuses(RateLimited, "KEYS"):
        await fill()
    assert act.begun == fitting - 1
    assert all([await keys.knows("ada", str(number)) for number in range(act.begun)])
    await keys.done("grace", "k", "", act, str, on_unknown=UNKNOWN)


async def test_a_new_key_is_refused_if_keys_fill_the_memory_of_all_owners() -> None:
    keys, act = bounded(), Acting()
    for owner in range(OWNERS):
        await keys.done(str(owner), "k", "", act, str, weighing(9 * OVERHEAD_BYTES), UNKNOWN)
    begun_before = act.begun

    async def fill() -> None:
        for owner in range(OWNERS, 100):
            await keys.done(str(owner), "k", "", act, str, weighing(9 * OVERHEAD_BYTES), UNKNOWN)

    with refuses(Overloaded, "KEYS"):
        await fill()
    assert act.begun < begun_before + OWNERS


@pytest.mark.bound("keys-under-way")
async def test_an_owner_has_at_most_the_bound_of_actions_in_flight() -> None:
    keys, act = bounded(max_in_flight=3), Acting()
    act.may_end.clear()
    waiting = [asyncio.create_task(keys.done("ada", key, "", act, str)) for key in "abc"]
    await begun(act, 3)
    with refuses(RateLimited, "KEYS"):
        await keys.done("ada", "d", "", act, str)
    again = asyncio.create_task(keys.done("ada", "a", "", act, str))
    others = asyncio.create_task(keys.done("grace", "a", "", act, str))
    await begun(act, 4)
    act.may_end.set()
    await asyncio.gather(*waiting, again, others)
    assert await keys.done("ada", "d", "", act, str) == "answer 5"


acts = st.lists(
    st.tuples(st.sampled_from(["ada", "grace"]), st.sampled_from("abcdef"), st.integers(1, 12), st.booleans()),
    max_size=40,
)


@given(acts)
@settings(deadline=None)
def test_the_answers_of_one_owner_do_not_depend_on_another(some: list[tuple[str, str, int, bool]]) -> None:
    async def told(owners: set[str]) -> list[tuple[str, str]]:
        """Return the result of each action of some owners."""
        keys, found = bounded(), list[tuple[str, str]]()
        for owner, key, weight, only_once in some:
            if owner not in owners:
                continue

            async def act(owner: str = owner) -> str:
                return f"{owner} {[who for who, _ in found].count(owner)}"

            on_unknown = UNKNOWN if only_once else None
            try:
                came = await keys.done(owner, key, "", act, str, weighing(weight * OVERHEAD_BYTES), on_unknown)
            except (Conflict, RateLimited, Overloaded) as error:
                came = str(error.reason)
            found.append((owner, came))
        return found

    both = asyncio.run(told({"ada", "grace"}))
    for owner in ("ada", "grace"):
        assert [one for one in both if one[0] == owner] == asyncio.run(told({owner}))


async def test_closing_cancels_actions_in_flight() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    [waiting] = await begun_with(keys, act)
    await keys.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    act.may_end.set()
    assert await keys.done("ada", "k", "a", act, str) == "answer 2"


def test_different_inputs_have_different_fingerprints() -> None:
    prints = [fingerprint(*parts) for parts in [("a", "b"), ("ab",), ("a", None), ("a", ["b"]), ("a",)]]
    assert len(set(prints)) == len(prints)
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})


class Looking:
    """A search for the result of an earlier attempt. It returns or raises the next of ``finds``."""

    def __init__(self, *finds: str | Exception | None) -> None:
        self.finds = list(finds)
        self.since: list[datetime] = []

    async def __call__(self, since: datetime) -> str | None:
        self.since.append(since)
        found = self.finds.pop(0) if len(self.finds) > 1 else self.finds[0]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_unknown, "BRIEF_SECONDS", 0.0)


LOST = UpstreamError("Cut.", reason=Reason.CUT)


async def test_an_unknown_outcome_is_searched_for_before_the_action_is_repeated() -> None:
    keys, act, look = IdempotencyKeys(60), Acting(), Looking("found")
    act.fails = LOST
    on_unknown = OutcomeUnknown(message="Look in the list.", find=look)
    before = datetime.now(UTC) - outcome_unknown.CLOCK_SKEW
    with pytest.raises(Conflict) as unknown:
        await keys.done("ada", "k", "a", act, str, on_unknown=on_unknown)
    error = unknown.value
    assert (error.reason, error.details, error.retryable) == ("OUTCOME_UNKNOWN", {"cause": "CUT"}, False)
    with refuses(Conflict, "KEY_REUSED"):
        await keys.done("ada", "k", "b", act, str, on_unknown=on_unknown)
    assert [await keys.done("ada", "k", "a", act, str, on_unknown=on_unknown) for _ in range(2)] == ["found", "found"]
    assert act.begun == len(look.since) == 1
    assert look.since[0] >= before


async def test_an_action_is_repeated_only_if_the_search_finds_that_it_was_not_done() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.fails = LOST
    look = Looking(UpstreamError("Down.", reason=Reason.CONNECT), None)
    on_unknown = OutcomeUnknown(message="Look in the list.", find=look)
    for _ in range(2):
        with pytest.raises(Conflict):
            await keys.done("ada", "k", "a", act, str, on_unknown=on_unknown)
        assert act.begun == 1
    act.fails = None
    assert await keys.done("ada", "k", "a", act, str, on_unknown=on_unknown) == "answer 2"
    assert look.since[0] == look.since[1]  # since the first attempt, not the last


async def test_without_a_search_an_unknown_outcome_keeps_the_key_and_a_refusal_frees_it() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.fails = LOST
    for _ in range(2):
        with pytest.raises(Conflict):
            await keys.done("ada", "k", "a", act, str, on_unknown=UNKNOWN)
    assert act.begun == 1
    act.fails = UpstreamUnavailable("Down.", reason=Reason.CONNECT)
    for attempt in (2, 3):
        with pytest.raises(UpstreamUnavailable):
            await keys.done("ada", "free", "a", act, str, on_unknown=UNKNOWN)
        assert act.begun == attempt


async def test_an_error_with_retry_after_is_raised_as_it_is_and_its_outcome_is_searched_for() -> None:
    keys, act, look = IdempotencyKeys(60), Acting(), Looking("found")
    act.fails = UpstreamError("Busy.", reason=Reason.STATUS, retry_after_seconds=3)
    on_unknown = OutcomeUnknown(message="Look in the list.", find=look)
    with pytest.raises(UpstreamError):
        await keys.done("ada", "k", "a", act, str, on_unknown=on_unknown)
    assert await keys.done("ada", "k", "a", act, str, on_unknown=on_unknown) == "found"


def test_an_input_that_is_nested_too_deeply_has_no_fingerprint() -> None:
    nested: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        nested = [nested]
    with refuses(BadUserInput, "NESTED"):
        fingerprint(nested)


class Result:
    """An answer that can be referred to weakly."""


async def test_an_answer_leaves_memory_in_time_even_if_no_further_request_has_a_key() -> None:
    keys, kept = IdempotencyKeys(0.01), []

    async def act() -> Result:
        kept.append(weakref.ref(result := Result()))
        return result

    for key in ("one", "two"):
        await keys.done("ada", key, "a", act, Result)
    async with asyncio.timeout(5):
        while any(one() is not None for one in kept):
            await asyncio.sleep(0.001)
    await keys.aclose()
