"""Load shedding under load: simulated requests on one event loop, with a clock that only their work advances."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from app.lag import INTERVAL_SECONDS
from app.shedding import Admitted, Shedder
from clients.errors import Overloaded

ARRIVAL = 0.0003
"""The CPU time to receive a request, in seconds; also that of one which is refused."""

HEAVY = (0.008,) * 14
LIGHT = (0.0004,) * 3
"""The CPU time of the steps between which a request yields to others, in seconds."""


@dataclass
class Job:
    """A request: its arrival, owner and steps, and how long it waits for a service before the first step."""

    at: float
    owner: str
    steps: tuple[float, ...]
    waits: float = 0.0
    entered: Admitted | None = None
    ended: float | None = None
    refused: bool = False

    @property
    def seconds(self) -> float:
        """Return the time from arrival to answer, or infinity without an answer."""
        return float("inf") if self.ended is None else self.ended - self.at


@dataclass
class Loop:
    """An event loop that runs one step of each job in turn."""

    now: float = 0.0
    due: float = INTERVAL_SECONDS
    used: float = 0.0
    most_under_way: int = 0
    left: dict[int, deque[float]] = field(default_factory=dict)
    serving: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shedder = Shedder(1000, lambda: max(0.0, self.now - self.due), lambda: self.now)

    async def run(self, jobs: Iterable[Job], until: float) -> None:
        """Run jobs until a time."""
        coming = deque(sorted(jobs, key=lambda job: job.at))
        tasks = []
        while self.now < until:
            while coming and coming[0].at <= self.now:
                tasks.append(asyncio.create_task(self._come(coming.popleft())))
                self._work(ARRIVAL)
            await _settle()
            if not self._serve():
                self.now = max(self.now, min(self.due, coming[0].at if coming else self.due))
            if self.now >= self.due:
                self.shedder.tick(min(self.now - self.due, self.used), self.used)
                self.due, self.used = self.now + INTERVAL_SECONDS, 0.0
            await _settle()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _come(self, job: Job) -> None:
        try:
            job.entered = await self.shedder.enter(job.owner)
        except Overloaded:
            job.refused = True
            return
        self.serving.append(job)
        self.left[id(job)] = deque(job.steps)
        self.most_under_way = max(self.most_under_way, len(self.serving))

    def _serve(self) -> bool:
        """Run a step of every job that does not wait. Return whether there was one."""
        ready = [job for job in self.serving if job.entered and self.now >= job.entered.since + job.waits]
        for job in ready:
            self._work(self.left[id(job)].popleft())
            if not self.left[id(job)]:
                self._end(job)
        return bool(ready)

    def _end(self, job: Job) -> None:
        assert job.entered is not None
        job.ended = self.now
        self.serving.remove(job)
        del self.left[id(job)]
        self.shedder.leave(job.owner, job.entered, work=sum(job.steps) * 1000)

    def _work(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def every(seconds: float, owners: tuple[str, ...], steps: tuple[float, ...], until: float) -> list[Job]:
    """Return jobs at a steady rate, of each owner in turn."""
    number = int(until / seconds)
    return [Job(n * seconds, owners[n % len(owners)], steps) for n in range(number)]


@pytest.mark.parametrize("users", [1, 4, 20])
async def test_at_ten_times_the_capacity_most_of_it_is_answered_within_a_second(users: int) -> None:
    """The capacity is nine expensive requests a second. Another user's requests are as many again, and cheap."""
    flood = every(1 / 90, tuple(f"ada{n}" for n in range(users)), HEAVY, 15)
    others = every(1 / 20, ("grace",), LIGHT, 15)
    loop = Loop()
    await loop.run(flood + others, until=17)
    good = sum(job.seconds <= 1 for job in flood) * sum(HEAVY) / 15
    assert good > 0.8
    assert not [job for job in others if job.refused]
    assert max(job.seconds for job in others) < 0.75
    assert loop.most_under_way < 20


async def test_cheap_requests_of_many_users_are_admitted_during_a_flood() -> None:
    flood = every(1 / 90, ("ada",), HEAVY, 10)
    for job in flood:
        job.at += 2
    others = every(1 / 50, tuple(f"user{n}" for n in range(50)), LIGHT, 12)
    loop = Loop()
    await loop.run(flood + others, until=14)
    assert not [job for job in others if job.refused]


async def test_cheap_requests_do_not_raise_the_limit_for_expensive_ones() -> None:
    loop = Loop()
    calm = every(1 / 10, ("ada",), LIGHT, 5) + every(1 / 5, ("grace",), HEAVY, 5)
    burst = [Job(5.0, "ada", HEAVY) for _ in range(100)]
    others = every(1 / 20, ("alan",), LIGHT, 8)
    await loop.run([*calm, *burst, *others], until=9)
    assert loop.most_under_way < 30
    assert not [job for job in others if job.refused]


async def test_requests_that_only_wait_for_a_service_are_all_admitted() -> None:
    """A hundred a second wait two seconds each: 200 in flight, with work for a tenth of the loop's time."""
    jobs = every(1 / 100, ("ada", "grace"), LIGHT, 6)
    for job in jobs:
        job.waits = 2.0
    loop = Loop()
    await loop.run(jobs, until=10)
    assert not [job for job in jobs if job.refused]
    assert max(job.seconds for job in jobs) < 2.2


async def test_requests_that_wait_for_a_service_are_admitted_during_a_flood() -> None:
    flood = every(1 / 90, ("ada",), HEAVY, 10)
    jobs = every(1 / 5, ("grace",), LIGHT, 13)
    for job in flood:
        job.at += 3
    for job in jobs:
        job.waits = 1.0
    loop = Loop()
    await loop.run(flood + jobs, until=15)
    assert not [job for job in jobs if job.refused]
    assert sum(job.seconds <= 1 for job in flood) * sum(HEAVY) / 10 > 0.7
