"""The pacer of steps, with a clock that the tests advance."""

from __future__ import annotations

import asyncio
from functools import partial

from app.pacing import PACED_SECONDS, StepPacer
from tests.support.clock import Clock


async def test_steps_past_an_iterations_time_run_in_the_next_ones_in_order() -> None:
    clock, done = Clock(), list[int]()
    pacer = StepPacer(clock)

    def step(number: int) -> None:
        done.append(number)
        clock.now += PACED_SECONDS / 3 + 1e-9  # three steps fit into an iteration

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


async def test_a_failed_step_does_not_block_the_next_one() -> None:
    pacer, done = StepPacer(Clock()), list[int]()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    pacer.later(lambda: 1 / 0)  # type: ignore[arg-type]
    pacer.later(lambda: done.append(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert done == [1]
