"""A circuit breaker that opens after consecutive failures, or at a failure rate.

The gateway does not use ``CircuitBreaker.call_async``, which needs tornado, counts cancelled calls as failures, and
counts only consecutive failures.
"""

from collections.abc import Callable
from enum import StrEnum

from clients.opening import OpeningRule
from clients.state_machine import pybreaker
from clients.streak import Streak
from clients.window import Outcome, Window

TRIAL_SECONDS = 5.0
"""The seconds after which a half-open breaker stops waiting for its trial call.

Then the breaker admits another trial call.
"""

_BUSY_SECONDS = 1.0


class BreakerState(StrEnum):
    """The state of a circuit breaker.

    An open breaker admits no call, and a half-open breaker admits one trial call at a time.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Entry:
    """A call that a breaker has admitted. ``generation`` counts the breaker's state changes before the call."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class Breaker:
    """A circuit breaker. An open breaker refuses calls for ``reset_seconds``.

    ``rule`` decides when the breaker opens. ``clock`` returns a monotonic time in seconds. The breaker calls
    ``on_change`` with each new state, and with the seconds for which the breaker refuses calls.
    """

    def __init__(
        self,
        rule: OpeningRule,
        *,
        window_seconds: float,
        reset_seconds: float,
        clock: Callable[[], float],
        on_change: Callable[[BreakerState, float], None],
    ) -> None:
        self._machine = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=reset_seconds)
        self._kept = BreakerState(self._machine.current_state)
        self._rule = rule
        self._window = Window(window_seconds, clock)
        self._streak = Streak(window_seconds, clock)
        self._window_seconds = window_seconds
        self._reset_seconds = reset_seconds
        self._clock = clock
        self._on_change = on_change
        self._opened_at = 0.0
        self._used_at = clock()
        self._trial: Entry | None = None
        self._trial_since = 0.0
        self.generation = 0

    @property
    def state(self) -> BreakerState:
        """The breaker's state. After ``reset_seconds``, an open breaker becomes half-open."""
        state = self._kept
        return BreakerState.HALF_OPEN if state is BreakerState.OPEN and self._left() <= 0 else state

    @property
    def is_stale(self) -> bool:
        """Whether the breaker can be removed, because it has been unused for ``window_seconds``."""
        used_at = max(self._used_at, self._opened_at + self._reset_seconds)
        return self._trial is None and self._clock() - used_at > self._window_seconds

    def wait(self) -> float:
        """Return the seconds until the breaker admits a call. Returns 0 if the breaker admits a call now."""
        if self._kept is BreakerState.OPEN:
            return max(0.0, self._left())
        trying = self._kept is BreakerState.HALF_OPEN and self._trial is not None
        left = self._trial_since + TRIAL_SECONDS - self._clock()
        return min(left, _BUSY_SECONDS) if trying and left > 0 else 0.0

    def enter(self) -> Entry:
        """Admit a call. The caller must call ``leave`` when the call ends. ``wait`` must have returned 0."""
        self._used_at = self._clock()
        if self._kept is BreakerState.OPEN:
            self._change(self._machine.half_open)
        entry = Entry(self.generation)
        if self._kept is BreakerState.HALF_OPEN:
            self._trial, self._trial_since = entry, self._clock()
        return entry

    def is_trial(self, entry: Entry) -> bool:
        """Return whether an admitted call is the trial call of a half-open breaker."""
        return self._trial is entry

    def leave(self, entry: Entry) -> bool:
        """Record that an admitted call has ended. Return whether the call was the trial call.

        The breaker ignores a call without a recorded outcome, such as a cancelled call.
        """
        if self._trial is not entry:
            return False
        self._trial = None
        return True

    def record(self, generation: int, outcome: Outcome, caller: str, operation: str) -> None:
        """Count a call's success or failure.

        The breaker ignores the outcome if the breaker's state has changed since the call began.
        """
        if generation != self.generation:
            return
        self._used_at = self._clock()
        if outcome is not Outcome.REFUSED:
            self._window.add(outcome, caller, operation)
            self._streak.add(outcome, caller, operation)
        self._judge(outcome)

    def _judge(self, outcome: Outcome) -> None:
        is_failure = outcome not in {Outcome.OK, Outcome.REFUSED}
        if self._kept is BreakerState.CLOSED:
            if is_failure and self._rule.opens(self._window, self._streak):
                self.open(self._reset_seconds)
        elif not is_failure:
            self.close()
        elif self._rule.reopens(self._window):
            self.open(self._reset_seconds)

    def record_cut(self, generation: int, caller: str, operation: str) -> None:
        """Replace the recorded success of a call with a failure."""
        if generation == self.generation:
            self._used_at = self._clock()
            self._window.remove_success(caller, operation)
            self._window.add(Outcome.FAILED, caller, operation)
            self._streak.fail(caller, operation)
            self._judge(Outcome.FAILED)

    def open(self, seconds: float) -> None:
        """Refuse calls for ``seconds``, but at most for the breaker's ``reset_seconds``."""
        self._opened_at = self._clock() - self._reset_seconds + min(seconds, self._reset_seconds)
        self._change(self._machine.open)

    def close(self) -> None:
        """Admit all calls."""
        self._change(self._machine.close)

    def _left(self) -> float:
        return self._opened_at + self._reset_seconds - self._clock()

    def _change(self, act: Callable[[], object]) -> None:
        act()
        self._kept = BreakerState(self._machine.current_state)
        self.generation += 1
        self._window.clear()
        self._streak.clear()
        self._trial = None
        self._on_change(self._kept, self.wait())
