"""Turns of the event loop that connections share: what one iteration has no time for is done in a later one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

TURN_SECONDS = 0.02
"""How much time of one iteration of the loop is taken, and what one step takes beyond it."""


class LoopTurns:
    """Does steps in the order in which they come, at once or in a later iteration of the loop.

    Args:
        clock: the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._spent = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    @property
    def is_over(self) -> bool:
        """Whether a step would wait."""
        return self._spent >= TURN_SECONDS or bool(self._waiting)

    def count(self, step: Callable[[], None]) -> None:
        """Do a step now, and count the time that it takes."""
        began = self._clock()
        try:
            step()
        finally:
            self._spent += self._clock() - began
            self._call()

    def later(self, step: Callable[[], None]) -> None:
        """Do a step when there is time for it."""
        self._waiting.append(step)
        self._call()

    def _call(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._is_due, self._spent = False, 0.0
        while self._waiting and self._spent < TURN_SECONDS:
            self.count(self._waiting.popleft())
        if self._waiting:
            self._call()
