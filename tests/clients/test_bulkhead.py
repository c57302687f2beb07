"""The bulkhead: its size, the share of each caller, fairness, and the release of every slot."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.bulkhead import Bulkhead

FOREVER = 1000.0


async def settle() -> None:
    for _ in range(100):  # a slot that is freed is passed on several times
        await asyncio.sleep(0)


class Crowd:
    """Calls that enter, leave or are cancelled, and a check of the bulkhead's invariants."""

    def __init__(self, size: int) -> None:
        self.size, self.share = size, max(1, size // 4)
        self.bulkhead = Bulkhead(size)
        self.inside: list[tuple[str, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.waiting: Counter[str] = Counter()

    async def _call(self, caller: str) -> None:
        self.waiting[caller] += 1
        try:
            await self.bulkhead.enter(caller, FOREVER)
        finally:
            self.waiting[caller] -= 1
        slot = (caller, asyncio.Event())
        self.inside.append(slot)
        try:
            await slot[1].wait()
        finally:
            self.inside.remove(slot)
            self.bulkhead.leave(caller)

    def enter(self, caller: str) -> None:
        self.tasks.append(asyncio.create_task(self._call(caller)))

    def leave(self, which: int) -> None:
        if self.inside:
            self.inside[which % len(self.inside)][1].set()

    def cancel(self, which: int) -> None:
        if self.tasks:
            self.tasks[which % len(self.tasks)].cancel()

    def check(self) -> None:
        held = Counter(caller for caller, _ in self.inside)
        assert held.total() <= self.size
        assert all(count <= self.share for count in held.values())
        if held.total() < self.size:  # no call waits for a slot that it can have
            assert not [caller for caller, count in self.waiting.items() if count and held[caller] < self.share]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.sampled_from("abcde")),
        st.tuples(st.sampled_from(["leave", "cancel", "settle"]), st.integers(0, 30)),
    ),
    max_size=60,
)


@given(st.integers(1, 9), STEPS)
def test_slots_and_shares_hold_in_any_order_of_calls(size: int, steps: list[tuple[str, str | int]]) -> None:
    async def run() -> None:
        crowd = Crowd(size)
        for act, argument in steps:
            if act == "settle":
                await settle()
                crowd.check()
            else:
                getattr(crowd, act)(argument)
        await settle()
        crowd.check()
        for task in crowd.tasks:
            task.cancel()
        await asyncio.gather(*crowd.tasks, return_exceptions=True)
        assert crowd.bulkhead.is_idle

    asyncio.run(run())


@pytest.mark.bound("bulkhead")
async def test_waiting_callers_are_served_round_robin() -> None:
    bulkhead, order = Bulkhead(1), []
    await bulkhead.enter("z", FOREVER)

    async def call(caller: str) -> None:
        await bulkhead.enter(caller, FOREVER)
        order.append(caller)
        bulkhead.leave(caller)

    calls = [asyncio.create_task(call(caller)) for caller in "aaaabbc"]
    await settle()
    bulkhead.leave("z")
    await asyncio.gather(*calls)
    assert "".join(order) == "abcabaa"


async def test_a_call_that_waits_too_long_is_refused_and_leaves_the_queue() -> None:
    bulkhead = Bulkhead(4)
    await bulkhead.enter("a", FOREVER)
    with pytest.raises(TimeoutError):
        await bulkhead.enter("a", 0.001)
    await bulkhead.enter("b", 0)
    bulkhead.leave("a")
    await bulkhead.enter("a", 0)
    bulkhead.leave("a")
    bulkhead.leave("b")
    assert bulkhead.is_idle


async def test_a_caller_waits_while_its_calls_are_admitted() -> None:
    bulkhead, timeout = Bulkhead(4), 0.2

    async def call() -> None:
        await bulkhead.enter("a", timeout)
        await asyncio.sleep(timeout / 5)
        bulkhead.leave("a")

    await asyncio.gather(*(call() for _ in range(15)))  # the last one waits for three times its timeout
    assert bulkhead.is_idle
