"""Counts the outcomes of recent calls over a time window."""

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum

BUCKETS = 30
"""The number of buckets that divide a time window. All outcomes in a bucket expire at once."""


class Outcome(IntEnum):
    """Tells a circuit breaker how a call ended."""

    OK = 0
    FAILED = 1
    """The request was sent, but the answer is missing or reports a failure. The request itself can be the cause."""
    UNREACHABLE = 2
    """The connection failed before the request was sent. The request cannot be the cause."""
    SLOW = 3
    """The service answered, but only after ``UpstreamLimits.slow`` seconds."""
    REFUSED = 4
    """The service refused the request, so the service works. A breaker does not count the call."""


_OK_AFTER_FAILURE = len(Outcome)
"""In a bucket's counts, the index of the successes that followed a failure in the window."""


@dataclass(slots=True)
class _Bucket:
    index: int
    calls: dict[tuple[str, str], list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Caller:
    calls: int = 0
    failed: int = 0


class Window:
    """Counts the outcomes of calls during the last ``seconds``. Adding an outcome takes constant time.

    Each outcome except ``OK`` counts as a failure.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._width = seconds / BUCKETS
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Remove the outcomes of all calls."""
        self._buckets: deque[_Bucket] = deque()
        self._callers: dict[str, _Caller] = {}
        self._operations: Counter[str] = Counter()
        self._working: Counter[str] = Counter()
        self._totals = [0] * len(Outcome)
        self._failing: set[str] = set()

    def add(self, outcome: Outcome, caller: str, operation: str) -> None:
        """Count the outcome of one call."""
        index = int(self._clock() / self._width)
        if not self._buckets or self._buckets[-1].index != index:
            self.expire()
            self._buckets.append(_Bucket(index))
        calls = self._buckets[-1].calls
        counts = calls.get((caller, operation))
        if counts is None:
            counts = calls[caller, operation] = [0] * (len(Outcome) + 1)
        counts[outcome] += 1
        if outcome is Outcome.OK and self._operations:
            counts[_OK_AFTER_FAILURE] += 1
            _change(self._working, operation, 1)
        self._sum(caller, operation, outcome, 1)

    def remove_success(self, caller: str, operation: str) -> None:
        """Remove the newest success of a caller's operation, if the window has one."""
        for bucket in reversed(self._buckets):
            counts = bucket.calls.get((caller, operation))
            if counts is not None and counts[Outcome.OK]:
                counts[Outcome.OK] -= 1
                if counts[_OK_AFTER_FAILURE]:
                    counts[_OK_AFTER_FAILURE] -= 1
                    _change(self._working, operation, -1)
                self._sum(caller, operation, Outcome.OK, -1)
                return

    def expire(self) -> None:
        """Remove the outcomes of calls that are older than the window."""
        oldest = int(self._clock() / self._width) - BUCKETS
        while self._buckets and self._buckets[0].index <= oldest:
            for (caller, operation), counts in self._buckets.popleft().calls.items():
                _change(self._working, operation, -counts[_OK_AFTER_FAILURE])
                for outcome in Outcome:
                    if counts[outcome]:
                        self._sum(caller, operation, outcome, -counts[outcome])

    def count(self, *outcomes: Outcome) -> int:
        """Return the number of calls that had one of ``outcomes``."""
        return sum(self._totals[outcome] for outcome in outcomes)

    @property
    def callers(self) -> int:
        """The number of callers that made calls during the window."""
        return len(self._callers)

    @property
    def failing_callers(self) -> int:
        """The number of callers with a failure rate of at least 50 %."""
        return len(self._failing)

    @property
    def failing_operations(self) -> int:
        """The number of operations with at least one failure."""
        return len(self._operations)

    def has_working_operation(self, besides: Collection[str] = ()) -> bool:
        """Return whether an operation has more successes than failures since the window's first failure.

        The operations in ``besides`` are ignored.
        """
        working = (name for name, count in self._working.items() if count > self._operations[name])
        return any(name not in besides for name in working)

    def has_failures(self, least: int, *, of_one_caller: int) -> bool:
        """Return whether the failing callers have at least ``least`` failures.

        Each caller counts for at most ``of_one_caller`` failures.
        """
        found = 0
        for caller in self._failing:
            found += min(self._callers[caller].failed, of_one_caller)
            if found >= least:
                return True
        return False

    def _sum(self, caller: str, operation: str, outcome: Outcome, count: int) -> None:
        self._totals[outcome] += count
        of_caller = self._callers.get(caller)
        if of_caller is None:
            of_caller = self._callers[caller] = _Caller()
        of_caller.calls += count
        if outcome is not Outcome.OK:
            of_caller.failed += count
            _change(self._operations, operation, count)
        if of_caller.failed and 2 * of_caller.failed >= of_caller.calls:
            self._failing.add(caller)
        else:
            self._failing.discard(caller)
        if not of_caller.calls:
            del self._callers[caller]


def _change(counter: Counter[str], key: str, count: int) -> None:
    counter[key] += count
    if not counter[key]:
        del counter[key]
