"""Keeps the outcomes of a few recent calls in their order, to find consecutive failures."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from clients.window import Outcome

RECENT = 20
"""How many outcomes a streak keeps. The oldest outcomes are dropped first."""


class Failure(NamedTuple):
    """One of several consecutive failures."""

    outcome: Outcome
    caller: str
    operation: str


class Streak:
    """The outcomes of the last calls, in order. Outcomes older than ``seconds`` do not count.

    A slow answer ends a sequence of failures, because the service has answered.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._calls: deque[tuple[float, Failure]] = deque(maxlen=RECENT)

    def clear(self) -> None:
        """Remove all outcomes."""
        self._calls.clear()

    def add(self, outcome: Outcome, caller: str, operation: str) -> None:
        """Add the outcome of one call."""
        kept = Outcome.OK if outcome is Outcome.SLOW else outcome
        self._calls.append((self._clock(), Failure(kept, caller, operation)))

    def fail(self, caller: str, operation: str) -> None:
        """Replace the newest success of a caller's operation with a failure. Without a success, add a failure."""
        success = Failure(Outcome.OK, caller, operation)
        failure = self._clock(), success._replace(outcome=Outcome.FAILED)
        for index in range(len(self._calls) - 1, -1, -1):
            if self._calls[index][1] == success:
                self._calls[index] = failure
                return
        self._calls.append(failure)

    def failures(self) -> list[Failure]:
        """Return the failures since the last success, the newest first."""
        found: list[Failure] = []
        oldest = self._clock() - self._seconds
        for at, call in reversed(self._calls):
            if call.outcome is Outcome.OK or at < oldest:
                break
            found.append(call)
        return found
