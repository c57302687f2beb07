"""Limits each user's requests with sliding window counters.

The charges of the previous window count with a weight that falls to 0 during the current window. Traffic at a constant
rate is admitted up to the limit. A window that is aligned with the clock never has more charges than the limit. Any
other period of the same length has at most twice the limit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from clients.bounded import Lru
from clients.state.cache import Versions

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
        least: the cost that the budget must admit; ``None`` for ``cost``. If the budget admits ``least`` but not
            ``cost``, the budget is charged with the largest cost that it admits.
    """

    budget: Budget
    cost: int = 1
    window: int | None = None
    least: int | None = None

    @property
    def needed(self) -> int:
        """The cost that the budget must admit. If it is 0 or less, the charge is never refused."""
        if self.window is not None:
            return 0
        return self.cost if self.least is None else self.least


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

    Attributes:
        standings: the budgets' states, in the order of the charges.
        charged: the costs that were charged, in the order of the charges. If a charge was refused, each cost is 0.
        tags: the versions of the user's cache tags, if they were read.
    """

    allowed: bool
    standings: tuple[Standing, ...]
    charged: tuple[int, ...]
    tags: Versions | None = None


class Limiter(Protocol):
    """Limits each user's charges to budgets.

    One call of ``take`` checks and charges several budgets in one round trip.
    """

    async def take(self, user: str, charges: Sequence[Charge], *, tags: bool = False) -> Verdict:
        """Apply all charges to a user's budgets, or apply none of the charges. Each charge has a different budget.

        If any new charge would exceed a budget's limit, no charge is applied. Raises ValueError if a new charge needs
        more than its budget's limit, since the charge would never be admitted. If ``tags`` is true, the versions of the
        user's cache tags are also read, if the same store has them.
        """


class Counter:
    """A user's charges to one budget in the current and the previous window. Times are in whole milliseconds.

    Args:
        window: the length of a window.
        index: the number of the current window.
        now: the charges of the current window.
        before: the charges of the previous window.
    """

    __slots__ = ("_before", "_index", "_now", "_window")

    def __init__(self, window: int, index: int, now: int = 0, before: int = 0) -> None:
        self._window = window
        self._index = index
        self._now = now
        self._before = before

    def move(self, now: int) -> None:
        """Move the counter to the time window that contains ``now``.

        If the clock was set back by more than a window, the counter begins at 0. Otherwise, its charges would count
        until the clock has reached their window again.
        """
        index = now // self._window
        if index == self._index:
            return
        if not self._index - 1 <= index <= self._index:
            self._before = self._now if index == self._index + 1 else 0
            self._index, self._now = index, 0

    def is_idle(self, now: int) -> bool:
        """Return whether no charge counts any more."""
        self.move(now)
        return not self._now and not self._before

    def at_least(self, other: Counter) -> Counter:
        """Return this counter, or a counter with the larger charges if both counters are in the same window."""
        if self._index != other._index:
            return self
        return Counter(self._window, self._index, max(self._now, other._now), max(self._before, other._before))

    def room(self, limit: int, now: int) -> int:
        """Return the largest charge that a limit admits now. The number is negative if the limit is exceeded."""
        return ((limit - self._now) * self._window - self._before * (self._window - now % self._window)) // self._window

    def wait(self, limit: int, needed: int, now: int) -> int:
        """Return the milliseconds until a limit admits a charge of ``needed``. Returns 0 if the limit admits it now."""
        window, left = self._window, self._window - now % self._window
        if needed <= 0 or needed <= ((limit - self._now) * window - self._before * left) // window:
            return 0
        room = limit - needed - self._now
        if room >= 0:  # the weight of the previous window falls enough during this window
            return left - room * window // self._before
        return left + window - (limit - needed) * window // self._now

    def add(self, cost: int, window: int | None) -> None:
        """Add a charge's cost to the counter.

        A refund without a window reduces the current window's charges, and then the previous window's charges.
        """
        if cost >= 0 or window is None:
            self._now += cost
            if self._now < 0:
                self._before, self._now = max(0, self._before + self._now), 0
        elif window == self._index:
            self._now = max(0, self._now + cost)
        elif window == self._index - 1:
            self._before = max(0, self._before + cost)

    def charged(self, budget: Budget, cost: int, left: int, now: int) -> Standing:
        """Add a new charge, after which ``left`` of the budget remains. ``cost`` is positive. Return what remains."""
        self._now += cost
        window = self._window
        return Standing(budget, left, (2 * window - now % window) / 1000, 0.0, self._index)

    def standing(self, budget: Budget, now: int, wait: int) -> Standing:
        """Return how much of a budget remains."""
        window = self._window
        left = window - now % window
        fades = left + window if self._now else left if self._before else 0
        room = ((budget.limit - self._now) * window - self._before * left) // window
        return Standing(budget, max(0, room), fades / 1000, wait / 1000, self._index)


def check_possible(charges: Sequence[Charge]) -> None:
    """Raise ValueError if a charge needs more than its budget's limit."""
    for charge in charges:
        if charge.needed > charge.budget.limit:
            raise ValueError(f"{charge.needed} is over the limit of {charge.budget.name}")


def standings_of(
    counters: Sequence[Counter], charges: Sequence[Charge], waits: Sequence[int], now: int
) -> tuple[Standing, ...]:
    """Return the states of the charges' budgets."""
    of_charges = zip(counters, charges, waits, strict=True)
    return tuple([counter.standing(charge.budget, now, wait) for counter, charge, wait in of_charges])


class MemoryLimiter:
    """A rate limiter that keeps counters in memory. Idle counters expire.

    Args:
        clock: returns nanoseconds.
        max_counters: above this number, the counter that was used least recently is evicted.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, *, max_counters: int = sys.maxsize) -> None:
        self._clock = clock
        self._counters: Lru[tuple[str, str], Counter] = Lru(max_counters)

    @property
    def kept(self) -> int:
        """The number of counters that are in memory."""
        return len(self._counters)

    async def take(self, user: str, charges: Sequence[Charge], *, tags: bool = False) -> Verdict:  # noqa: ARG002
        """Apply all charges to a user's budgets, or apply none of the charges.

        The method is atomic, since it never awaits.
        """
        now = self._clock() // 1_000_000
        standings = self._taken(user, charges, now)
        if standings is not None:
            self._sweep(now)
            return Verdict(True, standings, tuple([charge.cost for charge in charges]))
        counters, waits, allowed = [], [], True
        for charge in charges:
            budget, needed = charge.budget, charge.needed
            if needed > budget.limit:
                check_possible(charges)
            counter = self._counter(user, budget, now)
            wait = counter.wait(budget.limit, needed, now) if needed > 0 else 0
            counters.append(counter)
            waits.append(wait)
            allowed = allowed and not wait
        charged: list[int] = []
        for counter, charge in zip(counters, charges, strict=True):
            charged.append(self._charge(user, counter, charge, now) if allowed else 0)
        self._sweep(now)
        return Verdict(allowed, standings_of(counters, charges, waits, now), tuple(charged))

    def put(self, user: str, budget: Budget, counter: Counter, *, is_charged: bool) -> None:
        """Replace the counter of a user's budget. Unless the new counter ``is_charged``, it reduces no charges."""
        key = (user, budget.name)
        if not is_charged and (known := self._counters.get(key)) is not None:
            counter = counter.at_least(known)
        self._counters.put(key, counter)
        self._sweep(self._clock() // 1_000_000)

    def _taken(self, user: str, charges: Sequence[Charge], now: int) -> tuple[Standing, ...] | None:
        """Apply new charges to known counters that admit them, as almost all are, in half the time of the general way.

        If a charge is different, return ``None``, and apply no charge.
        """
        found = []
        for charge in charges:
            budget, cost = charge.budget, charge.cost
            counter = self._counters.get((user, budget.name))
            if counter is None or cost <= 0 or charge.window is not None or charge.least is not None:
                return None
            counter.move(now)
            left = counter.room(budget.limit, now) - cost
            if left < 0:
                return None
            found.append((counter, budget, cost, left))
        return tuple([counter.charged(budget, cost, left, now) for counter, budget, cost, left in found])

    def _counter(self, user: str, budget: Budget, now: int) -> Counter:
        window = budget.window * 1000
        counter = self._counters.get((user, budget.name)) or Counter(window, now // window)
        counter.move(now)
        return counter

    def _charge(self, user: str, counter: Counter, charge: Charge, now: int) -> int:
        cost = charge.cost
        if cost > 1 and charge.needed > 0:  # a cost of 1 is either admitted or refused
            cost = min(cost, counter.room(charge.budget.limit, now))
        counter.add(cost, charge.window)
        if cost > 0 and (key := (user, charge.budget.name)) not in self._counters:
            self._counters.put(key, counter)
        return cost

    def _sweep(self, now: int) -> None:
        for _ in range(_SWEPT):
            oldest = self._counters.oldest()
            if oldest is None or not oldest.is_idle(now):
                return
            self._counters.evict()
