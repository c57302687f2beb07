from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvers.loading import Loader, each


class Batches:
    """Remembers what it was asked for; odd keys fail, and nothing is answered before ``go``."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()

    async def load(self, keys: list[int]) -> list[int | Exception]:
        self.asked.append(keys)
        await self.go.wait()
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


async def test_a_cancelled_waiter_takes_nobody_along() -> None:
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


async def test_when_every_waiter_is_cancelled_the_value_is_there_for_the_next() -> None:
    batches = Batches()
    loader = Loader(batches.load)
    waiter = asyncio.create_task(loader.load(2))
    while not batches.asked:
        await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    batches.go.set()
    assert await loader.load(2) == 20
    assert batches.asked == [[2]]


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4))
def test_each_key_gets_its_own_answer_whatever_the_order_and_the_batches(keys: list[int], size: int) -> None:
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


async def test_one_call_a_key_side_by_side() -> None:
    together = asyncio.Barrier(3)

    async def load(key: int) -> int:
        await together.wait()
        return key

    assert await each(load)([1, 2, 3]) == [1, 2, 3]
