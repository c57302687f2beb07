from __future__ import annotations

import asyncio
import gc
import itertools
import time

import pytest

from app.lag import INTERVAL_SECONDS, LoopWatch


class Recorded:
    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []
        self.collections: list[float] = []
        self.ticked = asyncio.Event()

    def loop_measured(self, late: float, held: float) -> None:
        self.ticks.append((late, held))
        self.ticked.set()

    def collected(self, seconds: float) -> None:
        self.collections.append(seconds)


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.mark.timeout(10)
async def test_a_step_that_blocks_the_loop_is_measured() -> None:
    seen = Recorded()
    with LoopWatch(seen).running():
        burn(0.3)
        await seen.ticked.wait()
    late, held = seen.ticks[0]
    assert late >= held >= 0.2


@pytest.mark.timeout(10)
async def test_a_loop_that_waits_for_the_processor_is_late_but_not_held() -> None:
    seen = Recorded()
    with LoopWatch(seen).running():
        time.sleep(0.3)  # noqa: ASYNC251 - the thread is not running, as when others have the processor
        await seen.ticked.wait()
    late, held = seen.ticks[0]
    assert late >= 0.2
    assert held < 0.1


@pytest.mark.timeout(10)
async def test_a_full_collection_is_measured_and_a_young_one_is_not() -> None:
    seen = Recorded()
    with LoopWatch(seen).running():
        gc.collect(0)
        gc.collect()
        await seen.ticked.wait()
    assert len(seen.collections) >= 1
    assert all(seconds > 0 for seconds in seen.collections)


@pytest.mark.timeout(10)
async def test_every_tick_is_reported() -> None:
    seen, told = Recorded(), list[tuple[float, float]]()
    watch = LoopWatch(seen)
    watch.follow(lambda held, used: told.append((held, used)))
    with watch.running():
        burn(0.3)
        await seen.ticked.wait()
    assert [held for held, _ in told] == [held for _, held in seen.ticks]
    assert told[0][1] >= told[0][0]


@pytest.mark.timeout(10)
async def test_a_loop_that_never_waits_is_busy_even_if_others_have_the_processor() -> None:
    for sleeps, ticks, is_busy in (
        (lambda: 0, 20, True),
        (lambda: 0, 1, False),
        (itertools.count().__next__, 20, False),
    ):
        watch = LoopWatch(Recorded(), cpu=lambda: 0.0, sleeps=sleeps)
        busy = asyncio.Queue[float]()
        watch.follow(lambda held, used, busy=busy: busy.put_nowait(used))  # type: ignore[misc]
        with watch.running():
            seen = [await busy.get() for _ in range(ticks)]
        assert (seen[-1] >= INTERVAL_SECONDS) is is_busy
