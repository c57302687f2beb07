"""Rate limits, by user and budget.

The algorithm is a sliding window counter: the charges of the previous window count with a weight that falls to 0 during
the current one. Even traffic is admitted up to the limit. A window that is aligned with the clock never has more than
the limit; any other period of the same length has at most twice the limit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

_SWEPT = 4
"""The idle counters that one call removes: more than it can add, and few enough to take no time."""


class Budget(msgspec.Struct, frozen=True):
    """A limit of 1 or more for a window in whole seconds."""

    name: str
    limit: int
    window: int


class Charge(msgspec.Struct, frozen=True):
    """A charge to a budget. One of 0 only reads, a negative one refunds. Neither is refused."""

    budget: Budget
    cost: int = 1


class Standing(msgspec.Struct, frozen=True):
    """The state of one budget after a call. Times are in seconds from now, and assume no further charges.

    Attributes:
        remaining: the largest charge that is admitted now; never negative.
        resets_after: until the whole limit is available; 0 if nothing is used.
        retry_after: until the refused charge is admitted; 0 if this budget did not refuse.
    """

    budget: Budget
    remaining: int
    resets_after: float
    retry_after: float


class Verdict(msgspec.Struct, frozen=True):
    """The result of a call. ``standings`` are in the order of the charges."""

    allowed: bool
    standings: tuple[Standing, ...]


class Limiter(Protocol):
    """A store of counters. One call, and so one round trip, checks and charges several budgets."""

    async def take(self, user: str, charges: Sequence[Charge]) -> Verdict:
        """Charge all budgets of a user; none, if one of them has not enough left.

        Raises ValueError for a cost that is over its limit, and so would never be admitted.
        """


class MemoryLimiter:
    """A ``Limiter`` in this process. ``clock`` is in nanoseconds and never goes back. Idle counters expire."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._counters: OrderedDict[tuple[str, str], _Counter] = OrderedDict()

    @property
    def kept(self) -> int:
        """The number of counters."""
        return len(self._counters)

    async def take(self, user: str, charges: Sequence[Charge]) -> Verdict:
        """See ``Limiter``. It awaits nothing, so it is atomic."""
        now = self._clock() // 1_000_000
        counters = [self._counter(user, charge.budget, now) for charge in charges]
        waits = [counter.wait(charge, now) for counter, charge in zip(counters, charges, strict=True)]
        if allowed := not any(waits):
            for counter, charge in zip(counters, charges, strict=True):
                counter.add(charge.cost)
                if charge.cost > 0:
                    self._counters[user, charge.budget.name] = counter
                    self._counters.move_to_end((user, charge.budget.name))
        self._sweep(now)
        standings = (
            counter.standing(charge.budget, now, wait)
            for counter, charge, wait in zip(counters, charges, waits, strict=True)
        )
        return Verdict(allowed, tuple(standings))

    def _counter(self, user: str, budget: Budget, now: int) -> _Counter:
        """The counter, advanced to the current window; a new one if there is none."""
        window = budget.window * 1000
        counter = self._counters.get((user, budget.name)) or _Counter(window, now // window)
        counter.move(now)
        return counter

    def _sweep(self, now: int) -> None:
        """Remove counters at 0, the least recently used first."""
        for _ in range(_SWEPT):
            oldest = next(iter(self._counters), None)
            if oldest is None or not self._counters[oldest].idle(now):
                return
            del self._counters[oldest]


class _Counter:
    """The charges to one budget in the current window and the previous one. Times are in whole milliseconds."""

    __slots__ = ("_before", "_index", "_now", "_window")

    def __init__(self, window: int, index: int) -> None:
        self._window = window
        self._index = index
        self._now = 0
        self._before = 0

    def move(self, now: int) -> None:
        """Advance to the window of ``now``."""
        index = now // self._window
        if index > self._index:
            self._before = self._now if index == self._index + 1 else 0
            self._index, self._now = index, 0

    def idle(self, now: int) -> bool:
        """Whether no charge counts any more."""
        self.move(now)
        return not self._now and not self._before

    def wait(self, charge: Charge, now: int) -> int:
        """The time until a charge is admitted; 0 if it is admitted now.

        The use is ``before * left / window + now``. It is compared multiplied by ``window``, in whole numbers.
        """
        limit, cost, window, left = charge.budget.limit, charge.cost, self._window, self._left(now)
        if cost > limit:
            raise ValueError(f"{cost} is over the limit of {charge.budget.name}")
        if cost <= 0 or self._before * left + (self._now + cost) * window <= limit * window:
            return 0
        room = limit - cost - self._now
        if room >= 0:  # the weight of the previous window falls enough during this one
            return left - room * window // self._before
        return left + window - (limit - cost) * window // self._now

    def add(self, cost: int) -> None:
        """Charge a cost. A refund reduces the current window first."""
        self._now += cost
        if self._now < 0:
            self._before, self._now = max(0, self._before + self._now), 0

    def standing(self, budget: Budget, now: int, wait: int) -> Standing:
        """The state of the budget."""
        left = self._left(now)
        free = (budget.limit - self._now) * self._window - self._before * left
        fades = left + self._window if self._now else left if self._before else 0
        return Standing(budget, max(0, free // self._window), fades / 1000, wait / 1000)

    def _left(self, now: int) -> int:
        """The rest of the current window."""
        return self._window - now % self._window
