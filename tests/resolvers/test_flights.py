from __future__ import annotations

import asyncio

import pytest

from resolvers.cache.flights import Flights
from tests.support.cached import ticks


class Work:
    """Work that ends when the test ends it."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> int:
        self.begun += 1
        try:
            return await asyncio.shield(self.end)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_equal_work_runs_once_and_different_work_separately() -> None:
    flights, work, other = Flights(), Work(), Work()
    joined = [asyncio.create_task(flights.join("a", work)) for _ in range(3)]
    alone = asyncio.create_task(flights.join("b", other))
    await ticks()
    assert (work.begun, other.begun, len(flights)) == (1, 1, 2)
    assert "a" in flights
    work.end.set_result(1)
    other.end.set_result(2)
    assert [await task for task in joined] == [1, 1, 1]
    assert await alone == 2
    await ticks()
    assert len(flights) == 0
    assert await flights.join("a", work) == 1
    assert work.begun == 2, "work that has ended is not joined"


async def test_an_error_reaches_each_caller() -> None:
    flights, work = Flights(), Work()
    joined = [asyncio.create_task(flights.join("a", work)) for _ in range(3)]
    await ticks()
    work.end.set_exception(ValueError("x"))
    for task in joined:
        with pytest.raises(ValueError, match="x"):
            await task
    assert "a" not in flights


async def test_work_is_cancelled_with_its_last_caller_and_is_not_joined_then() -> None:
    flights, work, later = Flights(), Work(), Work()
    joined = [asyncio.create_task(flights.join("a", work)) for _ in range(2)]
    await ticks()
    joined[0].cancel()
    await ticks()
    assert work.cancelled == 0
    joined[1].cancel()
    await ticks(2)
    assert "a" not in flights
    later.end.set_result(3)
    assert await flights.join("a", later) == 3
    await asyncio.gather(*joined, return_exceptions=True)
    assert (work.cancelled, later.begun) == (1, 1)
