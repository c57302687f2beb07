"""Load shedding: the limit follows the loop's lag, owners take turns, and long waits end in a refusal."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.concurrency import FLOOR, LATE_SECONDS
from app.queues import NEW_IN_A_ROW, STANDING_SECONDS
from app.shedding import MAX_WAIT_SECONDS, Admitted, Shedder
from clients.errors import Overloaded

LATE, PROMPT = LATE_SECONDS * 2, 0.0
TICK = 0.05


class Crowd:
    """Requests that arrive, wait, run and end, with a fixed clock."""

    def __init__(self, most: int = 100) -> None:
        self.now = self.overdue = 0.0
        self.shedder = Shedder(most, lambda: self.overdue, lambda: self.now)
        self.inside: dict[str, Admitted] = {}
        self.refused: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def _come(self, name: str) -> None:
        try:
            entered = await self.shedder.enter(name.partition(":")[0])
        except Overloaded:
            self.refused.append(name)
        else:
            self.inside[name] = entered

    async def come(self, *names: str) -> None:
        self.tasks += [asyncio.create_task(self._come(name)) for name in names]
        await self.settle()

    async def go(self, name: str) -> None:
        self.shedder.leave(name.partition(":")[0], self.inside.pop(name))
        await self.settle()

    async def tick(self, lag: float, seconds: float = TICK, *, used: float = 0.0) -> None:
        self.now += seconds
        self.shedder.tick(lag, used)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_prompt_loop_admits_all_requests_at_once() -> None:
    crowd = Crowd(most=3)
    await crowd.come("ada:1", "ada:2", "ada:3")
    assert list(crowd.inside) == ["ada:1", "ada:2", "ada:3"]
    assert crowd.shedder.waiting == 0


async def test_the_limit_falls_with_a_late_loop_and_rises_with_a_prompt_one() -> None:
    crowd = Crowd()
    await crowd.come(*(f"ada:{n}" for n in range(20)))
    await crowd.tick(LATE)
    assert crowd.shedder.limit == 14
    for _ in range(10):
        await crowd.tick(LATE)
    assert crowd.shedder.limit == FLOOR
    await crowd.tick((LATE_SECONDS + 0.05) / 2)
    assert crowd.shedder.limit == FLOOR
    for _ in range(60):
        await crowd.tick(PROMPT)
    assert crowd.shedder.limit == 100


@pytest.mark.parametrize(("cost", "most_a_second"), [(0.001, 1000), (0.1, 10), (2.0, 1)])
async def test_the_limit_rises_as_fast_as_the_loop_has_time(cost: float, most_a_second: int) -> None:
    """The limit fell while the loop was late; then every request waits for a slow service, and the loop is idle."""
    crowd = Crowd(most=10_000)
    await crowd.come(*(f"ada:{n}" for n in range(10)))
    for name in list(crowd.inside):
        await crowd.go(name)
    await crowd.tick(LATE, used=10 * cost)
    assert crowd.shedder.limit == FLOOR
    for _ in range(20):
        await crowd.tick(PROMPT)
    assert crowd.shedder.limit - FLOOR == pytest.approx(most_a_second, rel=0.1, abs=1)


async def test_a_late_loop_admits_nothing_before_its_next_tick() -> None:
    crowd = Crowd()
    crowd.overdue = LATE
    await crowd.come("ada:1")
    assert crowd.shedder.waiting == 1
    crowd.overdue = 0.0
    await crowd.tick(LATE)
    assert list(crowd.inside) == ["ada:1"]


@pytest.mark.bound("admission-wait")
async def test_a_request_that_waits_too_long_is_refused() -> None:
    crowd = Crowd(most=1)
    await crowd.come(*(f"ada:{n}" for n in range(3)))
    await crowd.tick(PROMPT, seconds=MAX_WAIT_SECONDS - TICK)
    assert (list(crowd.inside), crowd.refused) == (["ada:0"], [])
    await crowd.tick(PROMPT, seconds=TICK)
    assert (list(crowd.inside), crowd.refused) == (["ada:0"], ["ada:1", "ada:2"])
    assert crowd.shedder.waiting == 0


async def test_the_newest_request_is_admitted_first_from_a_standing_queue() -> None:
    crowd = Crowd(most=1)
    await crowd.come("ada:0", "ada:1", "ada:2")
    await crowd.go("ada:0")
    assert list(crowd.inside) == ["ada:1"]
    crowd.now += STANDING_SECONDS + TICK
    await crowd.come("ada:3")
    await crowd.go("ada:1")
    assert list(crowd.inside) == ["ada:3"]


async def test_a_new_user_is_admitted_during_a_flood() -> None:
    crowd = Crowd()
    for number in range(20):
        await crowd.come(f"user{number}:0")
        await crowd.go(f"user{number}:0")
    await crowd.come(*(f"ada:{n}" for n in range(100)))
    for _ in range(10):
        await crowd.tick(LATE)
    await crowd.come(*(f"ada:{n}" for n in range(100, 200)))
    while len(crowd.inside) > FLOOR:
        await crowd.go(next(iter(crowd.inside)))
    await crowd.come(*(f"user{n}:1" for n in range(20)))
    for number in range(5):
        await crowd.come(f"grace{number}:0")
        for _ in range(2):
            await crowd.go(next(iter(crowd.inside)))
        assert f"grace{number}:0" in crowd.inside, "a new user's request is the next but one at most"
        await crowd.go(f"grace{number}:0")


async def test_new_owners_do_not_block_known_ones() -> None:
    crowd = Crowd(most=1)
    await crowd.come("ada:0")
    await crowd.go("ada:0")
    await crowd.come("first:0", "ada:1", *(f"new{n}:0" for n in range(20)))
    order: list[str] = []
    for _ in range(NEW_IN_A_ROW + 1):
        await crowd.go(next(iter(crowd.inside)))
        order += crowd.inside
    assert "ada:1" in order


async def test_an_idle_loop_admits_cheap_requests_up_to_the_limit() -> None:
    crowd = Crowd(most=40)
    for owner, work in (("ada", 100.0), ("grace", 10.0)):
        entered = await crowd.shedder.enter(owner)
        crowd.shedder.leave(owner, entered, work)
    await crowd.come(*(f"grace:{n}" for n in range(7)), *(f"ada:{n}" for n in range(30)))
    assert (len(crowd.inside), crowd.shedder.waiting) == (37, 0)


async def test_requests_that_waited_for_a_blocked_loop_are_admitted_first() -> None:
    crowd = Crowd(most=2)
    crowd.overdue = LATE
    await crowd.come("ada:0", "ada:1", "ada:2")
    crowd.overdue = 0.0
    await crowd.tick(PROMPT, seconds=2 * MAX_WAIT_SECONDS)
    assert (len(crowd.inside), len(crowd.refused)) == (2, 1)


async def test_a_cancelled_request_frees_its_slot() -> None:
    crowd = Crowd(most=1)
    await crowd.come("ada:0", "ada:1", "ada:2")
    crowd.tasks[1].cancel()  # while it waits
    await crowd.settle()
    assert crowd.shedder.waiting == 1
    crowd.shedder.leave("ada", crowd.inside.pop("ada:0"))  # lets the next one in, which is cancelled before it knows
    crowd.tasks[2].cancel()
    await crowd.settle()
    assert (crowd.shedder.waiting, crowd.shedder.in_flight) == (0, 0)
    await crowd.come("grace:0")
    assert list(crowd.inside) == ["grace:0"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(["ada", "grace", "alan"])),
        st.tuples(st.just("go"), st.integers(0, 50)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("tick"), st.sampled_from([PROMPT, LATE])),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), STEPS)
def test_each_request_is_admitted_or_refused_in_any_order_of_events(most: int, steps: list[tuple[str, object]]) -> None:
    asyncio.run(_walk(most, steps))


async def _walk(most: int, steps: list[tuple[str, object]]) -> None:
    crowd, number = Crowd(most), 0
    for what, which in steps:
        if what == "come":
            number += 1
            await crowd.come(f"{which}:{number}")
        elif what == "go" and crowd.inside:
            assert isinstance(which, int)
            await crowd.go(list(crowd.inside)[which % len(crowd.inside)])
        elif what == "cancel" and crowd.tasks:
            assert isinstance(which, int)
            crowd.tasks[which % len(crowd.tasks)].cancel()
            await crowd.settle()
        elif what == "tick":
            assert isinstance(which, float)
            await crowd.tick(which)
        held = Counter(name.partition(":")[0] for name in crowd.inside)
        assert crowd.shedder.in_flight == held.total()
        assert min(FLOOR, most) <= crowd.shedder.limit <= most
        assert not crowd.shedder.waiting or held.total() >= crowd.shedder.limit
    while crowd.inside or crowd.shedder.waiting:
        for name in list(crowd.inside):
            await crowd.go(name)
        await crowd.tick(PROMPT)
    done = sum(task.done() for task in crowd.tasks)
    assert done == len(crowd.tasks)
    assert crowd.shedder.in_flight == 0


async def test_the_refusal_is_an_overload() -> None:
    crowd = Crowd(most=1)
    await crowd.shedder.enter("ada")
    waits = asyncio.create_task(crowd.shedder.enter("ada"))
    await crowd.settle()
    await crowd.tick(PROMPT, seconds=MAX_WAIT_SECONDS)
    with pytest.raises(Overloaded, match="overloaded") as refused:
        await waits
    assert (refused.value.reason, refused.value.retry_after_seconds) == ("BUSY", 1)
