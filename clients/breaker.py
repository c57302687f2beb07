"""One circuit breaker: pybreaker as the state machine, behind a guard that is right under asyncio.

pybreaker's own async call needs tornado, counts a cancelled call as a failure, lets everybody in when half-open and
counts consecutive failures only. Here a window of outcomes and a rule decide, and pybreaker keeps the state.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import pybreaker

from clients.window import OpeningRule, Outcome, Window

TRIAL_SECONDS = 5.0
"""How long a trial excludes other calls from a half-open breaker. After that, another trial is admitted."""

_BUSY_SECONDS = 1.0


class BreakerState(StrEnum):
    """Closed admits calls, open refuses them, half-open admits one at a time as a trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Entry:
    """One admitted call. ``generation`` is that of the breaker at that time; each change of state increments it."""

    __slots__ = ("generation",)

    def __init__(self, generation: int) -> None:
        self.generation = generation


class Breaker:
    """A breaker that opens for ``reset_seconds`` when ``rule`` says so of the last ``window_seconds``.

    ``on_change`` is called with each new state; ``clock`` is in seconds and never goes back.
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
        """The state. An open breaker whose time is over is half-open: the next call is its trial."""
        state = self._kept
        return BreakerState.HALF_OPEN if state is BreakerState.OPEN and self._left() <= 0 else state

    @property
    def is_forgotten(self) -> bool:
        """Whether it has not been used for longer than its window, so that its state is out of date."""
        return self._clock() - max(self._used_at, self._opened_at + self._reset_seconds) > self._window_seconds

    def wait(self) -> float:
        """Seconds until a call is admitted; 0 if one is admitted now."""
        if self._kept is BreakerState.OPEN:
            return max(0.0, self._left())
        trying = self._kept is BreakerState.HALF_OPEN and self._trial is not None
        left = self._trial_since + TRIAL_SECONDS - self._clock()
        return min(left, _BUSY_SECONDS) if trying and left > 0 else 0.0

    def enter(self) -> Entry:
        """Admit a call; ``wait`` must be 0. ``leave`` must follow, whatever the result."""
        self._used_at = self._clock()
        if self._kept is BreakerState.OPEN:
            self._change(self._machine.half_open)
        entry = Entry(self.generation)
        if self._kept is BreakerState.HALF_OPEN:
            self._trial, self._trial_since = entry, self._clock()
        return entry

    def leave(self, entry: Entry) -> None:
        """End a call. A call without a recorded result, such as a cancelled one, is not counted."""
        if self._trial is entry:
            self._trial = None

    def record(self, generation: int, outcome: Outcome, caller: str, operation: str) -> None:
        """Count the result of a call. Results of calls admitted before the last change of state are ignored."""
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
        """Count a failure instead of the success that the same call was counted as before."""
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
