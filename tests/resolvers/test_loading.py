from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resolvers.loading import Lazy, Loader, one_by_one


class Batches:
    """Records the requested keys. Odd keys fail, and no batch is answered before ``go``."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()
        self.given_up = asyncio.Event()

    async def load(self, keys: list[int]) -> list[int | Exception]:
        self.asked.append(keys)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        return [ValueError(key) if key % 2 else key * 10 for key in keys]


async def test_keys_of_one_tick_are_one_batch_and_a_repeated_key_costs_nothing() -> None:
    batches = Batches()
    batches.go.set()
    loader = Loader(batches.load)
    assert await asyncio.gather(*(loader.load(key) for key in (2, 4, 2))) == [20, 40, 20]
    assert await loader.load(4) == 40
    assert batches.asked == [[2, 4]]


async def test_a_failing_key_fails_alone_and_is_asked_for_again() -> None:
    batches = Batches()
    batches.go.set()
    loader = Loader(batches.load)
    results = await asyncio.gather(loader.load(1), loader.load(2), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, int]
    with pytest.raises(ValueError, match="1"):
        await loader.load(1)
    assert batches.asked == [[1, 2], [1]]


async def test_a_cancelled_waiter_does_not_cancel_a_batch() -> None:
    batches = Batches()
    loader = Loader(batches.load)
    waiters = [asyncio.create_task(loader.load(2)) for _ in range(3)]
    while not batches.asked:
        await asyncio.sleep(0)
    waiters[0].cancel()
    await asyncio.wait({waiters[0]})
    batches.go.set()
    assert await asyncio.gather(*waiters[1:]) == [20, 20]
    assert await loader.load(2) == 20
    assert batches.asked == [[2]]


async def test_a_batch_without_waiters_is_cancelled_and_can_be_repeated() -> None:
    batches = Batches()
    loader = Loader(batches.load)
    waiters = [asyncio.create_task(loader.load(key)) for key in (2, 2, 4)]
    while not batches.asked:
        await asyncio.sleep(0)
    for waiter in waiters[:2]:
        waiter.cancel()
    await asyncio.wait(waiters[:2])
    assert not batches.given_up.is_set()  # 4 is waited for
    waiters[2].cancel()
    late = asyncio.create_task(loader.load(2))
    await asyncio.wait(waiters[2:])
    await batches.given_up.wait()
    batches.go.set()
    assert await late == 20
    assert await loader.load(4) == 40
    assert batches.asked == [[2, 4], [2], [4]]


async def test_a_key_cancelled_before_its_batch_is_not_read() -> None:
    batches = Batches()
    loader = Loader(batches.load)
    waiter = asyncio.create_task(loader.load(2))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    batches.go.set()
    assert await loader.load(4) == 40
    assert await loader.load(2) == 20
    assert batches.asked == [[4], [2]]


STEPS = st.lists(st.tuples(st.sampled_from(["load", "leave", "answer", "wait"]), st.integers(0, 9)), max_size=40)


@given(STEPS)
@example([("load", 0), ("leave", 0)])
def test_waiters_get_answers_and_no_task_remains_in_any_order_of_steps(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        batches = Batches()
        loader = Loader(batches.load, max_batch=3)
        waiters: list[tuple[int, asyncio.Task[int]]] = []
        for act, number in steps:
            if act == "load":
                waiters.append((number, asyncio.create_task(loader.load(number))))
            elif act == "leave" and waiters:
                waiters[number % len(waiters)][1].cancel()
            elif act == "answer":
                batches.go.set()
            await asyncio.sleep(0)
            if act == "wait":
                for _ in range(number):
                    await asyncio.sleep(0)
                batches.go.clear()
        batches.go.set()
        results = await asyncio.gather(*(task for _, task in waiters), return_exceptions=True)
        for (key, _), result in zip(waiters, results, strict=True):
            if not isinstance(result, asyncio.CancelledError):
                assert isinstance(result, ValueError) if key % 2 else result == key * 10
        for key in range(0, 10, 2):
            assert await loader.load(key) == key * 10
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4))
def test_each_key_gets_its_own_answer_in_any_batches(keys: list[int], size: int) -> None:
    async def run() -> tuple[list[object], list[list[int]]]:
        batches = Batches()
        batches.go.set()
        loader = Loader(batches.load, max_batch=size)
        return await asyncio.gather(*(loader.load(key) for key in keys), return_exceptions=True), batches.asked

    results, asked = asyncio.run(run())
    for key, result in zip(keys, results, strict=True):
        assert isinstance(result, ValueError) if key % 2 else result == key * 10
    flat = [key for batch in asked for key in batch]
    assert sorted(flat) == sorted(set(keys))
    assert all(len(batch) <= size for batch in asked)


class Reads:
    def __init__(self) -> None:
        self.together = asyncio.Barrier(3)

    async def _one(self, key: int) -> int:
        await self.together.wait()
        return key

    async def _many(self, keys: list[int]) -> list[int | Exception]:
        return [10 * key for key in keys]

    one = one_by_one(_one)
    many = Lazy(_many)


async def test_one_by_one_reads_keys_concurrently() -> None:
    reads = Reads()
    assert await asyncio.gather(*(reads.one.load(key) for key in (1, 2, 3))) == [1, 2, 3]


async def test_a_lazy_loader_belongs_to_its_instance() -> None:
    reads, others = Reads(), Reads()
    assert vars(reads).keys() == {"together"}
    reads.many.prime(1, 7)
    assert [await one.many.load(1) for one in (reads, others)] == [7, 10]


async def test_an_instance_is_freed_after_its_loads() -> None:
    gone: list[str] = []
    reads = Reads()
    weakref.finalize(reads, gone.append, "reads")
    waiters = [asyncio.create_task(reads.many.load(1)), asyncio.create_task(reads.many.load(2))]
    del reads
    assert await asyncio.gather(*waiters) == [10, 20]
    del waiters
    await asyncio.sleep(0)
    assert gone == ["reads"]


async def test_a_cancelled_load_leaves_no_reference_cycle() -> None:
    batches = Batches()
    loader = Loader(batches.load)
    gone: list[str] = []
    weakref.finalize(batches, gone.append, "batches")
    waiter = asyncio.create_task(loader.load(2))
    while not batches.asked:
        await asyncio.sleep(0)
    given_up = batches.given_up
    del loader, batches
    gc.collect()
    gc.disable()
    try:
        waiter.cancel()
        await given_up.wait()
        del waiter
        for _ in range(5):
            await asyncio.sleep(0)
        assert gone == ["batches"]
    finally:
        gc.enable()
