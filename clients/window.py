"""What calls came to in the last seconds: a sliding window of outcomes, and the rule by which it opens a breaker."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

BUCKETS = 30
"""A window is counted in so many parts; the oldest part leaves it as a whole."""


class Outcome(Enum):
    """How one call went, as one breaker counts it."""

    OK = "ok"
    FAILED = "failed"
    """The request was sent, and what came back is no answer. The request itself may be the cause."""
    UNREACHABLE = "unreachable"
    """No connection: nothing was sent, so the request cannot be the cause."""


_Event = tuple[Outcome, str, str]


@dataclass(slots=True)
class _Bucket:
    index: int
    events: Counter[_Event] = field(default_factory=Counter)


class Window:
    """Outcomes of the last ``seconds``, by caller and operation. Each event costs O(1)."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._width = seconds / BUCKETS
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._buckets: deque[_Bucket] = deque()
        self._callers: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._operations: Counter[str] = Counter()
        self._totals: Counter[Outcome] = Counter()
        self._failing: set[str] = set()

    def add(self, outcome: Outcome, caller: str, operation: str) -> None:
        """Count one call."""
        self.expire()
        index = int(self._clock() / self._width)
        if not self._buckets or self._buckets[-1].index != index:
            self._buckets.append(_Bucket(index))
        event = (outcome, caller, operation)
        self._buckets[-1].events[event] += 1
        self._sum(event, 1)

    def take_back(self, caller: str, operation: str) -> None:
        """Uncount the last ``OK`` of a caller's operation, if it is still in the window."""
        event = (Outcome.OK, caller, operation)
        for bucket in reversed(self._buckets):
            if bucket.events[event] > 0:
                bucket.events[event] -= 1
                self._sum(event, -1)
                return

    def expire(self) -> None:
        """Drop what is older than the window."""
        oldest = int(self._clock() / self._width) - BUCKETS
        while self._buckets and self._buckets[0].index <= oldest:
            for event, count in self._buckets.popleft().events.items():
                self._sum(event, -count)

    def count(self, *outcomes: Outcome) -> int:
        """How many calls had one of these outcomes."""
        return sum(self._totals[outcome] for outcome in outcomes)

    @property
    def callers(self) -> int:
        """How many callers there were."""
        return len(self._callers)

    @property
    def failing_callers(self) -> int:
        """How many of them failed at least as often as not."""
        return len(self._failing)

    @property
    def failing_operations(self) -> int:
        """How many operations failed at least once."""
        return len(self._operations)

    def _sum(self, event: _Event, count: int) -> None:
        outcome, caller, operation = event
        self._totals[outcome] += count
        _change(self._callers, caller, count)
        if outcome is not Outcome.OK:
            _change(self._bad, caller, count)
            _change(self._operations, operation, count)
        if self._bad[caller] and 2 * self._bad[caller] >= self._callers[caller]:
            self._failing.add(caller)
        else:
            self._failing.discard(caller)


def _change(counter: Counter[str], key: str, count: int) -> None:
    counter[key] += count
    if not counter[key]:
        del counter[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRule:
    """When failures open a breaker: by their rate, and by how many callers and operations they come from.

    Attributes:
        failures: the least number of failures in the window.
        callers: the least number of failing callers. One caller has one vote however many calls it makes, so that
            nobody outvotes others by asking more often.
        operations: the least number of operations among the failures.
    """

    failures: int
    callers: int = 1
    operations: int = 1

    def opens(self, window: Window) -> bool:
        """Whether a closed breaker opens: at least half of what was tried has failed."""
        window.expire()
        unreachable = window.count(Outcome.UNREACHABLE)
        if unreachable >= self.failures and 2 * unreachable >= window.count(*Outcome):
            return True
        failed = window.count(Outcome.FAILED, Outcome.UNREACHABLE)
        return failed >= self.failures and 2 * window.failing_callers >= window.callers and self._spread(window)

    def reopens(self, window: Window) -> bool:
        """Whether a half-open breaker, whose every success closes it, opens again."""
        return window.count(Outcome.UNREACHABLE) > 0 or self._spread(window)

    def _spread(self, window: Window) -> bool:
        return window.failing_callers >= self.callers and window.failing_operations >= self.operations
