"""One circuit breaker: pybreaker's state machine, and a sliding window and a rule that decide when it opens.

pybreaker's own asynchronous call is not used: it needs tornado, counts a cancelled call as a failure, admits every call
when half-open, and counts consecutive failures only.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import pybreaker

from clients.window import OpeningRule, Outcome, Window

TRIAL_SECONDS = 5.0
"""How long a half-open breaker admits no other call after its trial call. Then it admits another trial call."""

_BUSY_SECONDS = 1.0


class BreakerState(StrEnum):
    """Closed: admits calls. Open: refuses them. Half-open: admits one trial call at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Entry:
    """One admitted call. ``generation`` is the breaker's at that time; each change of state increments it."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class Breaker:
    """A breaker. ``rule`` decides whether it opens; then it refuses calls for ``reset_seconds``.

    ``clock`` is in seconds and never goes back. ``on_change`` is called with each new state.
    """

    def __init__(
        self,
        rule: OpeningRule,
        *,
        window_seconds: float,
        reset_seconds: float,
        clock: Callable[[], float],
        on_change: Callable[[BreakerState], None],
    ) -> None:
        self._machine = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=reset_seconds)
        self._kept = BreakerState(self._machine.current_state)
        self._rule = rule
        self._window = Window(window_seconds, clock)
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
        """The state. After ``reset_seconds`` an open breaker is half-open: the next call is its trial call."""
        state = self._kept
        return BreakerState.HALF_OPEN if state is BreakerState.OPEN and self._left() <= 0 else state

    @property
    def is_stale(self) -> bool:
        """Whether it has not been used for longer than its window, so that it can be removed."""
        return self._clock() - max(self._used_at, self._opened_at + self._reset_seconds) > self._window_seconds

    def wait(self) -> float:
        """Seconds until a call is admitted; 0 if one is admitted now."""
        if self._kept is BreakerState.OPEN:
            return max(0.0, self._left())
        trying = self._kept is BreakerState.HALF_OPEN and self._trial is not None
        left = self._trial_since + TRIAL_SECONDS - self._clock()
        return min(left, _BUSY_SECONDS) if trying and left > 0 else 0.0

    def enter(self) -> Entry:
        """Admit a call; ``wait`` must be 0. ``leave`` must follow."""
        self._used_at = self._clock()
        if self._kept is BreakerState.OPEN:
            self._change(self._machine.half_open)
        entry = Entry(self.generation)
        if self._kept is BreakerState.HALF_OPEN:
            self._trial, self._trial_since = entry, self._clock()
        return entry

    def leave(self, entry: Entry) -> None:
        """End a call. A call that is not recorded, such as a cancelled one, does not count."""
        if self._trial is entry:
            self._trial = None

    def record(self, generation: int, outcome: Outcome, caller: str, operation: str) -> None:
        """Count the outcome of a call, unless the state has changed since it was admitted."""
        if generation != self.generation:
            return
        self._used_at = self._clock()
        self._window.add(outcome, caller, operation)
        if self._kept is BreakerState.CLOSED:
            if outcome is not Outcome.OK and self._rule.opens(self._window):
                self._open()
        elif outcome is Outcome.OK:
            self._change(self._machine.close)
        elif self._rule.reopens(self._window):
            self._open()

    def record_cut(self, generation: int, caller: str, operation: str) -> None:
        """Replace the success that was recorded for a call with a failure."""
        if generation == self.generation:
            self._window.take_back(caller, operation)
            self.record(generation, Outcome.FAILED, caller, operation)

    def _left(self) -> float:
        return self._opened_at + self._reset_seconds - self._clock()

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._change(self._machine.open)

    def _change(self, act: Callable[[], object]) -> None:
        act()
        self._kept = BreakerState(self._machine.current_state)
        self.generation += 1
        self._window.clear()
        self._trial = None
        self._on_change(self._kept)
