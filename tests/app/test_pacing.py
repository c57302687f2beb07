"""The pacer of steps, with a clock of its own."""

from __future__ import annotations

import asyncio
from functools import partial

from app.pacing import PACED_SECONDS, StepPacer


class Clock:
    """Seconds that pass when a step takes them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def take(self) -> None:
        """A step, of which three fit into an iteration."""
        self.now += PACED_SECONDS / 3 + 1e-9


async def test_what_does_not_fit_into_an_iteration_is_done_in_the_next_ones_in_order() -> None:
    clock, done = Clock(), list[int]()
    pacer = StepPacer(clock)

    def step(number: int) -> None:
        done.append(number)
        clock.take()

    for number in range(3):
        assert not pacer.is_full
        pacer.count(partial(step, number))
    assert pacer.is_full
    for number in range(3, 10):
        pacer.later(partial(step, number))
    seen = []
    while len(done) < 10:
        assert pacer.is_full
        await asyncio.sleep(0)
        seen.append(len(done))
    assert done == list(range(10))
    assert seen == [6, 9, 10]
    await asyncio.sleep(0)
    assert not pacer.is_full


async def test_a_step_that_fails_keeps_nobody_waiting() -> None:
    pacer, done = StepPacer(Clock()), list[int]()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    pacer.later(lambda: 1 / 0)  # type: ignore[arg-type]
    pacer.later(lambda: done.append(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == [1]
