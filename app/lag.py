"""Measures how late the event loop runs, what holds it, and how long garbage collections take."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

INTERVAL_SECONDS = 0.05
"""How often the loop is measured: often enough that one long step is seen, at under 0.1% of a core."""

_FULL = 2
"""The oldest generation of Python's garbage collector: its collections visit every container object."""


class LagMetrics(Protocol):
    """Receives the measurements."""

    def loop_measured(self, late: float, held: float) -> None:
        """Record one tick; both in seconds."""

    def collected(self, seconds: float) -> None:
        """Record one full garbage collection."""


class LoopWatch:
    """Schedules a tick every ``INTERVAL_SECONDS`` and measures how late it comes.

    ``lag`` is the lateness of the newest tick, in seconds of wall-clock time: what every callback of the loop waits.
    ``held`` is the part of it that this process caused: at most the CPU time that the loop's thread has used since the
    tick before, so that a busy machine does not count.

    Args:
        metrics: receives the measurements.
        clock: wall-clock time, in seconds.
        cpu: CPU time of the calling thread, in seconds.
    """

    def __init__(
        self,
        metrics: LagMetrics,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.lag = 0.0
        self._metrics = metrics
        self._clock = clock
        self._cpu = cpu
        self._due = self._used = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._collecting = 0.0
        self._collections: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the running loop until the context ends."""
        gc.callbacks.append(self._on_collection)
        self._schedule()
        try:
            yield
        finally:
            gc.callbacks.remove(self._on_collection)
            if self._timer is not None:
                self._timer.cancel()

    def overdue(self) -> float:
        """Return how late the pending tick is now, in seconds: the lag as far as it is known in mid-step."""
        return max(0.0, self._clock() - self._due)

    def _schedule(self) -> None:
        self._due, self._used = self._clock() + INTERVAL_SECONDS, self._cpu()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)

    def _tick(self) -> None:
        self.lag = self.overdue()
        self._metrics.loop_measured(self.lag, min(self.lag, self._cpu() - self._used))
        while self._collections:
            self._metrics.collected(self._collections.pop())
        self._schedule()

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Time a full collection. The metrics get it at the next tick: a collection may begin while they are locked."""
        if info["generation"] < _FULL:
            return
        if phase == "start":
            self._collecting = self._clock()
        else:
            self._collections.append(self._clock() - self._collecting)
