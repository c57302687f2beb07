"""Spreads the work of connections over several iterations of the event loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

PACED_SECONDS = 0.02
"""How long queued functions may run in one iteration of the event loop, in seconds.

A function that exceeds this time is still completed.
"""


class StepPacer:
    """Runs functions (steps) in order, over several iterations of the event loop."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._spent = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    @property
    def is_full(self) -> bool:
        """Return whether the next function must wait for a later iteration of the event loop."""
        return self._spent >= PACED_SECONDS or bool(self._waiting)

    def count(self, step: Callable[[], None]) -> None:
        """Run a function now, and measure how long the function takes."""
        began = self._clock()
        try:
            step()
        finally:
            self._spent += self._clock() - began
            self._call()

    def later(self, step: Callable[[], None]) -> None:
        """Queue a function for a later iteration of the event loop."""
        self._waiting.append(step)
        self._call()

    def _call(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._is_due, self._spent = False, 0.0
        while self._waiting and self._spent < PACED_SECONDS:
            self.count(self._waiting.popleft())
        if self._waiting:
            self._call()
