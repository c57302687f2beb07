"""Limits each user's requests with sliding window counters.

The charges of the previous window count with a weight that falls to 0 during the current window. Traffic at a constant
rate is admitted up to the limit. A window that is aligned with the clock never has more charges than the limit. Any
other period of the same length has at most twice the limit.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from clients.bounded import Lru

_SWEPT = 4
"""The maximum number of idle counters that one call removes. A call adds at most three counters."""


class Budget(msgspec.Struct, frozen=True):
    """A limit on a user's charges during a time window.

    ``limit`` is at least 1. ``window`` is an integer, in seconds.
    """

    name: str
    limit: int
    window: int


class Charge(msgspec.Struct, frozen=True):
    """A charge to a user's budget. A negative cost is a refund. A cost of 0 leaves the budget unchanged.

    Attributes:
        window: ``None`` for a new charge. If the charge corrects an earlier charge, this is the earlier charge's
            ``Standing.window``. A correction is never refused, even if the correction exceeds the limit. A refund
            reduces the charges of ``window``, if these charges still count. An additional cost is added to the current
            window.
    """

    budget: Budget
    cost: int = 1
    window: int | None = None


class Standing(msgspec.Struct, frozen=True):
    """How much of a budget remains after a charge.

    The times are in seconds, and assume that no charge follows.

    Attributes:
        remaining: the largest charge that the budget admits now; never negative.
        resets_after: the time until the whole limit is available; 0 if nothing is used.
        retry_after: the time until the budget admits the refused charge; 0 if no charge was refused.
        window: the number of the current window, for a later correction of the charge.
    """

    budget: Budget
    remaining: int
    resets_after: float
    retry_after: float
    window: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """Whether a limiter has admitted the charges, and how much of each budget remains.

    ``standings`` has the order of the charges.
    """

    allowed: bool
    standings: tuple[Standing, ...]


class Limiter(Protocol):
    """Limits each user's charges to budgets.

    One call of ``take`` checks and charges several budgets in one round trip.
    """

    async def take(self, user: str, charges: Sequence[Charge]) -> Verdict:
        """Apply all charges to a user's budgets, or apply none of the charges.

        If any new charge would exceed a budget's limit, no charge is applied. Raises ValueError if a new charge's cost
        exceeds its budget's limit, since the charge would never be admitted.
        """


class _Counter:
    """A user's charges to one budget in the current and the previous window. Times are in whole milliseconds."""

    __slots__ = ("_before", "_index", "_now", "_window")

    def __init__(self, window: int, index: int) -> None:
        self._window = window
        self._index = index
        self._now = 0
        self._before = 0

    def move(self, now: int) -> None:
        """Move the counter to the time window that contains ``now``."""
        index = now // self._window
        if index > self._index:
            self._before = self._now if index == self._index + 1 else 0
            self._index, self._now = index, 0

    def is_idle(self, now: int) -> bool:
        self.move(now)
        return not self._now and not self._before

    def wait(self, charge: Charge, now: int) -> int:
        """Return the milliseconds until the user's budget admits a charge.

        Returns 0 if the budget admits the charge now. The comparison multiplies a budget's use, ``before * left /
        window + now``, by ``window`` to have whole numbers.
        """
        limit, cost, window, left = charge.budget.limit, charge.cost, self._window, self._left(now)
        if charge.window is not None:
            return 0
        if cost > limit:
            raise ValueError(f"{cost} is over the limit of {charge.budget.name}")
        if cost <= 0 or self._before * left + (self._now + cost) * window <= limit * window:
            return 0
        room = limit - cost - self._now
        if room >= 0:  # the weight of the previous window falls enough during this window
            return left - room * window // self._before
        return left + window - (limit - cost) * window // self._now

    def add(self, charge: Charge) -> None:
        """Add a charge's cost to the counter.

        A refund without a window reduces the current window's charges, and then the previous window's charges.
        """
        cost, window = charge.cost, charge.window
        if cost >= 0 or window is None:
            self._now += cost
            if self._now < 0:
                self._before, self._now = max(0, self._before + self._now), 0
        elif window == self._index:
            self._now = max(0, self._now + cost)
        elif window == self._index - 1:
            self._before = max(0, self._before + cost)

    def standing(self, budget: Budget, now: int, wait: int) -> Standing:
        left = self._left(now)
        free = (budget.limit - self._now) * self._window - self._before * left
        fades = left + self._window if self._now else left if self._before else 0
        return Standing(budget, max(0, free // self._window), fades / 1000, wait / 1000, self._index)

    def _left(self, now: int) -> int:
        return self._window - now % self._window


class MemoryLimiter:
    """A rate limiter that keeps counters in memory. Idle counters expire.

    Args:
        clock: returns monotonic nanoseconds.
        max_counters: above this number, the counter that was used least recently is evicted.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, *, max_counters: int = sys.maxsize) -> None:
        self._clock = clock
        self._counters: Lru[tuple[str, str], _Counter] = Lru(max_counters)

    @property
    def kept(self) -> int:
        """The number of counters that are in memory."""
        return len(self._counters)

    async def take(self, user: str, charges: Sequence[Charge]) -> Verdict:
        """Apply all charges to a user's budgets, or apply none of the charges.

        The method is atomic, since it never awaits.
        """
        now = self._clock() // 1_000_000
        counters = [self._counter(user, charge.budget, now) for charge in charges]
        waits = [counter.wait(charge, now) for counter, charge in zip(counters, charges, strict=True)]
        if allowed := not any(waits):
            for counter, charge in zip(counters, charges, strict=True):
                counter.add(charge)
                if charge.cost > 0:
                    self._counters.put((user, charge.budget.name), counter)
        self._sweep(now)
        standings = (
            counter.standing(charge.budget, now, wait)
            for counter, charge, wait in zip(counters, charges, waits, strict=True)
        )
        return Verdict(allowed, tuple(standings))

    def _counter(self, user: str, budget: Budget, now: int) -> _Counter:
        window = budget.window * 1000
        counter = self._counters.get((user, budget.name)) or _Counter(window, now // window)
        counter.move(now)
        return counter

    def _sweep(self, now: int) -> None:
        for _ in range(_SWEPT):
            oldest = self._counters.oldest()
            if oldest is None or not oldest.is_idle(now):
                return
            self._counters.evict()
