"""pybreaker as the state machine, behind a guard that is right under asyncio.

pybreaker's own async call needs tornado, counts a cancelled call as a failure, and lets everybody in when half-open.
Here the policy stands outside and only tells pybreaker what happened: a success, a failure, or nothing.

It counts consecutive failures: one success between two failures starts the count anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum

import pybreaker


class BreakerState(StrEnum):
    """Closed lets calls through, open refuses them, half-open lets one through on trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerOpen(Exception):
    """The breaker refuses. ``retry_after_seconds`` is when it will let a trial through."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("breaker open")
        self.retry_after_seconds = retry_after_seconds


class Permit:
    """Leave to make one call. Tell it once how the call went; a call that told nothing says nothing."""

    def __init__(self, breaker: Breaker, generation: int, *, trial: bool) -> None:
        self._breaker = breaker
        self._generation = generation
        self._trial = trial
        self._open = True

    def succeeded(self) -> None:
        """The service answered."""
        self._tell(failed=False)

    def failed(self) -> None:
        """The service failed."""
        self._tell(failed=True)

    def release(self) -> None:
        """The call is over. Without a word before, as when it was cancelled, nothing is counted."""
        if self._open and self._trial:
            self._breaker.trial_over()
        self._open = False

    def _tell(self, *, failed: bool) -> None:
        if self._open:
            self.release()
            self._breaker.record(self._generation, failed=failed)


class Breaker:
    """One service's breaker: ``failures`` in a row open it, for ``reset_seconds``."""

    def __init__(
        self, name: str, *, failures: int, reset_seconds: float, on_change: Callable[[BreakerState], None]
    ) -> None:
        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._machine = pybreaker.CircuitBreaker(
            fail_max=failures, reset_timeout=reset_seconds, name=name, state_storage=self._storage
        )
        self._reset_seconds = reset_seconds
        self._on_change = on_change
        self._generation = 0
        self._trying = False

    @property
    def state(self) -> BreakerState:
        """Where it stands. An open one whose time is over is still open until somebody tries."""
        return BreakerState(self._machine.current_state)

    def retry_after_seconds(self) -> float:
        """How long until a trial is let through; 0 when closed."""
        opened = self._storage.opened_at
        if self.state is not BreakerState.OPEN or opened is None:
            return 0.0
        return max(0.0, self._reset_seconds - (datetime.now(UTC) - opened).total_seconds())

    def enter(self) -> Permit:
        """Leave to call. Raises BreakerOpen."""
        if self.state is BreakerState.OPEN:
            if (wait := self.retry_after_seconds()) > 0:
                raise BreakerOpen(wait)
            self._change(self._machine.half_open)
            self._trying = False
        trial = self.state is BreakerState.HALF_OPEN
        if trial:
            if self._trying:
                raise BreakerOpen(1.0)
            self._trying = True
        return Permit(self, self._generation, trial=trial)

    def trial_over(self) -> None:
        """The trial call has ended, however."""
        self._trying = False

    def record(self, generation: int, *, failed: bool) -> None:
        """How a call went. One that began before the last change of state says nothing of the present one."""
        if generation == self._generation:
            self._change(self._failure if failed else self._success)

    def _success(self) -> None:
        self._machine.call(lambda: None)

    def _failure(self) -> None:
        with suppress(_Failed, pybreaker.CircuitBreakerError):
            self._machine.call(_fail)

    def _change(self, act: Callable[[], object]) -> None:
        before = self.state
        act()
        if self.state is not before:
            self._generation += 1
            self._on_change(self.state)


class _Failed(Exception):
    pass


def _fail() -> None:
    raise _Failed
