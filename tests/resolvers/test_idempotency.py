"""What is asked for twice under one key."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.codes import Reason
from clients.errors import BadUserInput, Conflict, Overloaded, RateLimited, UpstreamError, UpstreamUnavailable
from resolvers import doubt
from resolvers.doubt import Doubt
from resolvers.idempotency import KEY_BYTES, OVERHEAD_BYTES, OWNERS, IdempotencyKeys, fingerprint
from tests.support.scripted_streams import refuses

DOUBT = Doubt(message="Unknown.")


class Acting:
    """Something that is done when it is let."""

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


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def begun(act: Acting, times: int = 1) -> None:
    """Let the tasks go on until something has begun."""
    async with asyncio.timeout(5):
        while act.begun < times:
            await asyncio.sleep(0)


async def test_a_key_does_it_once_and_each_key_and_owner_for_itself() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    assert [await keys.done("ada", "k", "a", act) for _ in range(2)] == ["answer 1", "answer 1"]
    assert await keys.done("ada", "other", "a", act) == "answer 2"
    assert await keys.done("grace", "k", "b", act) == "answer 3"
    assert act.begun == 3


async def test_those_who_come_while_it_is_under_way_wait_for_it() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.may_end.clear()
    waiting = [asyncio.create_task(keys.done("ada", "k", "a", act)) for _ in range(5)]
    await begun(act)
    act.may_end.set()
    assert await asyncio.gather(*waiting) == ["answer 1"] * 5
    assert act.begun == 1


async def test_a_key_with_other_input_is_a_conflict_under_way_and_afterwards() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.may_end.clear()
    waiting = asyncio.create_task(keys.done("ada", "k", "a", act))
    await begun(act)
    for _ in range(2):
        with refuses(Conflict, "KEY_REUSED"):
            await keys.done("ada", "k", "b", act)
        act.may_end.set()
        assert await waiting == "answer 1"


@pytest.mark.parametrize("leaving", [1, 2])
async def test_whoever_leaves_stops_nothing(leaving: int) -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.may_end.clear()
    waiting = [asyncio.create_task(keys.done("ada", "k", "a", act)) for _ in range(2)]
    await begun(act)
    for one in waiting[:leaving]:
        one.cancel()
    await asyncio.wait(waiting[:leaving])
    act.may_end.set()
    assert await asyncio.gather(*waiting[leaving:]) == ["answer 1"] * (2 - leaving)
    assert await keys.done("ada", "k", "a", act) == "answer 1"


async def test_a_failure_is_told_to_all_who_wait_and_frees_the_key() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.may_end.clear()
    act.fails = UpstreamError("down", reason=Reason.CONNECT)
    waiting = [asyncio.create_task(keys.done("ada", "k", "a", act)) for _ in range(2)]
    await begun(act)
    act.may_end.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [act.fails] * 2
    act.fails = None
    assert await keys.done("ada", "k", "with other input", act) == "answer 2"


async def test_an_answer_is_kept_for_its_time() -> None:
    clock = Time()
    keys, act = IdempotencyKeys(60, clock=clock), Acting()
    await keys.done("ada", "k", "a", act)
    clock.now = 59.9
    assert await keys.done("ada", "k", "a", act) == "answer 1"
    clock.now = 60
    assert await keys.done("ada", "k", "b", act) == "answer 2"


async def test_what_takes_long_is_kept_from_its_end() -> None:
    clock = Time()
    keys, act = IdempotencyKeys(60, clock=clock), Acting()
    act.may_end.clear()
    waiting = asyncio.create_task(keys.done("ada", "k", "a", act))
    await begun(act)
    clock.now = 100
    act.may_end.set()
    await waiting
    clock.now = 159
    assert await keys.done("ada", "k", "a", act) == "answer 1"


def large(_: str) -> int:
    return 6 * OVERHEAD_BYTES


def bounded(each: int = 10 * OVERHEAD_BYTES, **more: Any) -> IdempotencyKeys:
    """One in which an owner may keep one large answer, and four small ones."""
    return IdempotencyKeys(60, memory=OWNERS * each, **more)


def weighing(weight: int) -> Callable[[object], int]:
    """Weigh every answer alike."""
    return lambda _: weight


@pytest.mark.bound("answers-kept")
@pytest.mark.parametrize("past", [0, 1])
async def test_an_owner_keeps_as_much_as_the_bound_and_not_a_byte_more(past: int) -> None:
    keys, act = bounded(), Acting()
    for key, weight in (("a", 5 * OVERHEAD_BYTES), ("b", 5 * OVERHEAD_BYTES + past)):
        await keys.done("ada", key, "", act, weighing(weight))
    assert keys.knows("ada", "b")
    assert keys.knows("ada", "a") is not bool(past)


@pytest.mark.bound("answers-kept")
@pytest.mark.parametrize("past", [0, 1])
async def test_all_owners_keep_as_much_as_the_bound_and_not_a_byte_more(past: int) -> None:
    keys, act = bounded(), Acting()
    each = 10 * OVERHEAD_BYTES
    for owner in range(OWNERS - 1):
        await keys.done(str(owner), "k", "", act, lambda _: each)
    await keys.done("almost", "k", "", act, lambda _: each - OVERHEAD_BYTES + past)
    with refuses(Overloaded, "KEYS") if past else nullcontext():
        await keys.done("ada", "k", "", act)
    assert all(keys.knows(str(owner), "k") for owner in range(OWNERS - 1))


async def test_an_owners_oldest_answers_make_room() -> None:
    keys, act = bounded(), Acting()
    for key in "abc":
        await keys.done("ada", key, "", act, large)
    assert await keys.done("ada", "c", "", act, large) == "answer 3"
    assert not keys.knows("ada", "a")
    assert await keys.done("ada", "a", "", act, large) == "answer 4"


async def test_what_must_not_be_done_twice_is_not_where_its_answer_has_made_room() -> None:
    keys, act = bounded(), Acting()
    for key in "abc":
        await keys.done("ada", key, "", act, large, DOUBT)
    assert keys.knows("ada", "a")
    with refuses(Conflict, "ANSWER_DROPPED"):
        await keys.done("ada", "a", "", act, large, DOUBT)
    with refuses(Conflict, "KEY_REUSED"):
        await keys.done("ada", "a", "other input", act, large, DOUBT)
    assert act.begun == 3
    assert await keys.done("ada", "c", "", act, large, DOUBT) == "answer 3"


async def test_a_key_whose_outcome_is_unknown_outlives_any_answer() -> None:
    keys, act = bounded(), Acting()
    act.fails = LOST
    with pytest.raises(Conflict):
        await keys.done("ada", "lost", "", act, doubt=DOUBT)
    act.fails = None
    for key in "abcdef":
        await keys.done("ada", key, "", act, large)
    with refuses(Conflict, "OUTCOME_UNKNOWN"):
        await keys.done("ada", "lost", "", act, doubt=DOUBT)


async def test_another_owners_answers_evict_none() -> None:
    keys, act = bounded(), Acting()
    await keys.done("ada", "k", "", act, large)
    for number in range(100):
        await keys.done("grace", str(number), "", act, large)
    assert await keys.done("ada", "k", "", act, large) == "answer 1"


async def test_an_owner_begins_nothing_where_keys_alone_fill_the_quota() -> None:
    keys, act = bounded(), Acting()
    fitting = 10 * OVERHEAD_BYTES // KEY_BYTES

    async def fill() -> None:
        for number in range(2 * fitting):
            await keys.done("ada", str(number), "", act, doubt=DOUBT)

    with refuses(RateLimited, "KEYS"):
        await fill()
    assert act.begun == fitting - 1
    assert all(keys.knows("ada", str(number)) for number in range(act.begun))
    await keys.done("grace", "k", "", act, doubt=DOUBT)


async def test_nobody_begins_anything_where_the_keys_of_all_owners_fill_the_memory() -> None:
    keys, act = bounded(), Acting()
    for owner in range(OWNERS):
        await keys.done(str(owner), "k", "", act, lambda _: 9 * OVERHEAD_BYTES, DOUBT)
    begun_before = act.begun

    async def fill() -> None:
        for owner in range(OWNERS, 100):
            await keys.done(str(owner), "k", "", act, lambda _: 9 * OVERHEAD_BYTES, DOUBT)

    with refuses(Overloaded, "KEYS"):
        await fill()
    assert act.begun < begun_before + OWNERS


@pytest.mark.bound("keys-under-way")
async def test_an_owner_has_so_many_under_way() -> None:
    keys, act = bounded(max_under_way=3), Acting()
    act.may_end.clear()
    waiting = [asyncio.create_task(keys.done("ada", key, "", act)) for key in "abc"]
    await begun(act, 3)
    with refuses(RateLimited, "KEYS"):
        await keys.done("ada", "d", "", act)
    again = asyncio.create_task(keys.done("ada", "a", "", act))
    others = asyncio.create_task(keys.done("grace", "a", "", act))
    await begun(act, 4)
    act.may_end.set()
    await asyncio.gather(*waiting, again, others)
    assert await keys.done("ada", "d", "", act) == "answer 5"


acts = st.lists(
    st.tuples(st.sampled_from(["ada", "grace"]), st.sampled_from("abcdef"), st.integers(1, 12), st.booleans()),
    max_size=40,
)


@given(acts)
@settings(deadline=None)
def test_what_one_owner_was_promised_does_not_depend_on_another(some: list[tuple[str, str, int, bool]]) -> None:
    async def told(owners: set[str]) -> list[tuple[str, str]]:
        """What each act of some owners comes to."""
        keys, found = bounded(), list[tuple[str, str]]()
        for owner, key, weight, only_once in some:
            if owner not in owners:
                continue

            async def act(owner: str = owner) -> str:
                return f"{owner} {[who for who, _ in found].count(owner)}"

            doubt = DOUBT if only_once else None
            try:
                came = await keys.done(owner, key, "", act, weighing(weight * OVERHEAD_BYTES), doubt)
            except (Conflict, RateLimited, Overloaded) as error:
                came = str(error.reason)
            found.append((owner, came))
        return found

    both = asyncio.run(told({"ada", "grace"}))
    for owner in ("ada", "grace"):
        assert [one for one in both if one[0] == owner] == asyncio.run(told({owner}))


async def test_when_the_process_goes_so_does_what_is_under_way() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.may_end.clear()
    waiting = asyncio.create_task(keys.done("ada", "k", "a", act))
    await begun(act)
    await keys.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    act.may_end.set()
    assert await keys.done("ada", "k", "a", act) == "answer 2"


def test_a_fingerprint_tells_inputs_apart() -> None:
    prints = [fingerprint(*parts) for parts in [("a", "b"), ("ab",), ("a", None), ("a", ["b"]), ("a",)]]
    assert len(set(prints)) == len(prints)
    assert fingerprint({"x": 1, "y": 2}) == fingerprint({"y": 2, "x": 1})


class Looking:
    """Looks for what was done: answers what it is told to, or fails."""

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
    monkeypatch.setattr(doubt, "BRIEF_SECONDS", 0.0)


LOST = UpstreamError("Cut.", reason=Reason.CUT)


async def test_what_may_have_been_done_is_looked_for_before_it_is_done_again() -> None:
    keys, act, look = IdempotencyKeys(60), Acting(), Looking("found")
    act.fails = LOST
    doubts = Doubt(message="Look in the list.", look=look)
    before = datetime.now(UTC) - doubt.CLOCK_SKEW
    with pytest.raises(Conflict) as unknown:
        await keys.done("ada", "k", "a", act, doubt=doubts)
    assert (unknown.value.reason, unknown.value.details, unknown.value.retryable) == (
        "OUTCOME_UNKNOWN",
        {"cause": "CUT"},
        False,
    )
    with refuses(Conflict, "KEY_REUSED"):
        await keys.done("ada", "k", "b", act, doubt=doubts)
    assert [await keys.done("ada", "k", "a", act, doubt=doubts) for _ in range(2)] == ["found", "found"]
    assert act.begun == len(look.since) == 1
    assert look.since[0] >= before


async def test_what_was_not_done_is_done_and_what_cannot_be_told_is_not() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.fails = LOST
    look = Looking(UpstreamError("Down.", reason=Reason.CONNECT), None)
    doubts = Doubt(message="Look in the list.", look=look)
    for begun_then in (1, 1):
        with pytest.raises(Conflict):
            await keys.done("ada", "k", "a", act, doubt=doubts)
        assert act.begun == begun_then
    act.fails = None
    assert await keys.done("ada", "k", "a", act, doubt=doubts) == "answer 2"
    assert look.since[0] == look.since[1]  # since the first attempt, not the last


async def test_without_a_look_the_key_stays_taken_and_what_is_refused_frees_it() -> None:
    keys, act = IdempotencyKeys(60), Acting()
    act.fails = LOST
    for _ in range(2):
        with pytest.raises(Conflict):
            await keys.done("ada", "k", "a", act, doubt=DOUBT)
    assert act.begun == 1
    act.fails = UpstreamUnavailable("Down.", reason=Reason.CONNECT)
    for attempt in (2, 3):
        with pytest.raises(UpstreamUnavailable):
            await keys.done("ada", "free", "a", act, doubt=DOUBT)
        assert act.begun == attempt


async def test_a_refusal_for_now_is_told_as_it_is_and_looked_for_all_the_same() -> None:
    keys, act, look = IdempotencyKeys(60), Acting(), Looking("found")
    act.fails = UpstreamError("Busy.", reason=Reason.STATUS, retry_after_seconds=3)
    doubts = Doubt(message="Look in the list.", look=look)
    with pytest.raises(UpstreamError):
        await keys.done("ada", "k", "a", act, doubt=doubts)
    assert await keys.done("ada", "k", "a", act, doubt=doubts) == "found"


def test_an_input_that_is_nested_too_deeply_has_no_fingerprint() -> None:
    nested: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        nested = [nested]
    with refuses(BadUserInput, "NESTED"):
        fingerprint(nested)
