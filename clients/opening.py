"""Decides when the outcomes of calls open a circuit breaker."""

from collections import Counter
from dataclasses import dataclass

from clients.streak import Failure, Streak
from clients.window import Outcome, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningRule:
    """Decides when failed calls open a circuit breaker: after consecutive failures, or at a failure rate of 50 %.

    If several callers are required, at most about half of the required failures can come from one caller. So one caller
    cannot open a breaker for others by making more calls.

    Attributes:
        failures: the number of consecutive failures.
        calls: the minimum number of calls in the window before the failure rate counts.
        callers: the minimum number of failing callers.
        operations: the minimum number of failing operations. If several are required, the breaker stays closed while
            any operation keeps succeeding, since failing operations have their own breakers.
    """

    failures: int
    calls: int
    callers: int = 1
    operations: int = 1

    def opens(self, window: Window, streak: Streak) -> bool:
        """Return whether a closed circuit breaker should open."""
        window.expire()
        return self._opens_by_streak(window, streak.failures()) or self._opens_by_rate(window)

    def reopens(self, window: Window) -> bool:
        """Return whether a half-open circuit breaker should open again."""
        return window.count(Outcome.UNREACHABLE) > 0 or self._is_spread(window)

    def _opens_by_streak(self, window: Window, failed: list[Failure]) -> bool:
        if len(failed) < self.failures:
            return False
        if sum(one.outcome is Outcome.UNREACHABLE for one in failed) >= self.failures:
            return True
        callers, operations = Counter(one.caller for one in failed), {one.operation for one in failed}
        if len(callers) < self.callers or len(operations) < self.operations:
            return False
        if sum(min(count, self._most_of_one) for count in callers.values()) < self.failures:
            return False
        return self.operations == 1 or not window.has_working_operation(besides=operations)

    def _opens_by_rate(self, window: Window) -> bool:
        calls = window.count(*Outcome)
        if calls < self.calls:
            return False
        if 2 * window.count(Outcome.UNREACHABLE) >= calls:
            return True
        enough = window.has_failures(self.failures, of_one_caller=self._most_of_one)
        if not (enough and 2 * window.failing_callers >= window.callers and self._is_spread(window)):
            return False
        return self.operations == 1 or not window.has_working_operation()

    @property
    def _most_of_one(self) -> int:
        return self.failures if self.callers == 1 else (self.failures + 1) // 2

    def _is_spread(self, window: Window) -> bool:
        return window.failing_callers >= self.callers and window.failing_operations >= self.operations
