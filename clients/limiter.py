"""Rate limits: what somebody may do within a time, counted in one place, whoever asks and whichever process counts.

``Limiter`` is what a store of counters offers: any number of budgets are checked and charged together, all or none, in
one call and so in one round trip. ``MemoryLimiter`` keeps them in this process.

The counter slides: what the window before this one was charged still counts, less and less as this one goes on. So an
even stream is let through at the limit and no more, a window that begins on the clock never holds more than the limit,
and the worst that any stretch of one window's length can hold is twice the limit (the end of one window together with
the end of the next).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

_SWEPT = 4
"""How many idle counters a call takes away: more than it can add, and too few to be noticed."""


class Budget(msgspec.Struct, frozen=True):
    """What may be charged within a window. ``limit`` is 1 or more; ``window`` is in whole seconds."""

    name: str
    limit: int
    window: int


class Charge(msgspec.Struct, frozen=True):
    """What is taken of a budget: 0 only looks, a negative one gives back. Neither is ever refused."""

    budget: Budget
    cost: int = 1


class Standing(msgspec.Struct, frozen=True):
    """How one budget stands after a call. Times are in seconds from now.

    Attributes:
        remaining: what can be taken right now; never negative.
        resets_after: until all of the limit is there again, if nothing more is taken; 0 where nothing is used.
        retry_after: until what was refused is let through, if nothing more is taken; 0 where this budget refused
            nothing.
    """

    budget: Budget
    remaining: int
    resets_after: float
    retry_after: float


class Verdict(msgspec.Struct, frozen=True):
    """What came of a call; ``standings`` are in the order of the charges."""

    allowed: bool
    standings: tuple[Standing, ...]


class Limiter(Protocol):
    """A store of counters."""

    async def take(self, who: str, charges: Sequence[Charge]) -> Verdict:
        """Charge every budget of somebody's, or, where one of them has not enough left, none.

        Raises:
            ValueError: for a cost over its limit, which no wait would let through.
        """


class MemoryLimiter:
    """A ``Limiter`` in this process. ``clock`` is in nanoseconds and never goes back; idle counters are dropped."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._counters: OrderedDict[tuple[str, str], _Counter] = OrderedDict()

    @property
    def kept(self) -> int:
        """How many counters are kept."""
        return len(self._counters)

    async def take(self, who: str, charges: Sequence[Charge]) -> Verdict:
        """See ``Limiter``. Nothing is awaited in here, so that it is one step to everybody else."""
        now = self._clock() // 1_000_000
        counters = [self._counter(who, charge.budget, now) for charge in charges]
        waits = [counter.wait(charge, now) for counter, charge in zip(counters, charges, strict=True)]
        if allowed := not any(waits):
            for counter, charge in zip(counters, charges, strict=True):
                counter.add(charge.cost)
                if charge.cost > 0:
                    self._keep(who, charge.budget, counter)
        self._sweep(now)
        standings = (
            counter.standing(charge.budget, now, wait)
            for counter, charge, wait in zip(counters, charges, waits, strict=True)
        )
        return Verdict(allowed, tuple(standings))

    def _counter(self, who: str, budget: Budget, now: int) -> _Counter:
        """The counter, moved on to the present window; one that is not kept begins at nothing."""
        window = budget.window * 1000
        counter = self._counters.get((who, budget.name)) or _Counter(window, now // window)
        counter.move(now)
        return counter

    def _keep(self, who: str, budget: Budget, counter: _Counter) -> None:
        self._counters[who, budget.name] = counter
        self._counters.move_to_end((who, budget.name))

    def _sweep(self, now: int) -> None:
        """Drop what has nothing left that counts, the longest untouched first."""
        for _ in range(_SWEPT):
            oldest = next(iter(self._counters), None)
            if oldest is None or not self._counters[oldest].idle(now):
                return
            del self._counters[oldest]


class _Counter:
    """What one budget of somebody's was charged in the present window and the one before. In whole milliseconds."""

    __slots__ = ("_before", "_index", "_now", "_window")

    def __init__(self, window: int, index: int) -> None:
        self._window = window
        self._index = index
        self._now = 0
        self._before = 0

    def move(self, now: int) -> None:
        """On to the window that ``now`` is in."""
        index = now // self._window
        if index > self._index:
            self._before = self._now if index == self._index + 1 else 0
            self._index, self._now = index, 0

    def idle(self, now: int) -> bool:
        """Whether nothing that it was charged counts any more."""
        self.move(now)
        return not self._now and not self._before

    def wait(self, charge: Charge, now: int) -> int:
        """How long until a charge is let through; 0 now.

        What is used is ``before * left / window + now``, which is compared times ``window``: whole numbers only.
        """
        limit, cost, window, left = charge.budget.limit, charge.cost, self._window, self._left(now)
        if cost > limit:
            raise ValueError(f"{cost} is more than {charge.budget.name} ever lets through")
        if cost <= 0 or self._before * left + (self._now + cost) * window <= limit * window:
            return 0
        room = limit - cost - self._now
        if room >= 0:  # the window before fades enough while this one lasts
            return left - room * window // self._before
        return left + window - (limit - cost) * window // self._now

    def add(self, cost: int) -> None:
        """Charge it; what is given back is taken off this window first."""
        self._now += cost
        if self._now < 0:
            self._before, self._now = max(0, self._before + self._now), 0

    def standing(self, budget: Budget, now: int, wait: int) -> Standing:
        """How the budget stands."""
        left = self._left(now)
        free = (budget.limit - self._now) * self._window - self._before * left
        fades = left + self._window if self._now else left if self._before else 0
        return Standing(budget, max(0, free // self._window), fades / 1000, wait / 1000)

    def _left(self, now: int) -> int:
        """What is left of the present window."""
        return self._window - now % self._window
