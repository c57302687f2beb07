"""Measures the lag of the event loop, and the duration of full garbage collections."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

INTERVAL_SECONDS = 0.05
"""The interval of measurements, in seconds: a long step is noticed, and they cost less than 0.1% of a core."""

_FULL = 2
"""Python's oldest generation, whose collections visit every container object."""


class LagMetrics(Protocol):
    """Receives the measurements."""

    def loop_measured(self, late: float, held: float) -> None:
        """Record one tick; both in seconds."""

    def collected(self, seconds: float) -> None:
        """Record one full garbage collection."""


class LoopWatch:
    """Schedules a tick every ``INTERVAL_SECONDS`` and measures how late it runs.

    ``lag`` is the delay of the newest tick in seconds. Every callback of the loop has about this delay. ``held`` is the
    part that this process caused: at most the CPU time of the loop's thread since the previous tick, so that a busy
    machine does not count.

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
        self.lag = self.held = 0.0
        self._metrics = metrics
        self._followers: list[Callable[[float, float], None]] = []
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

    def follow(self, act: Callable[[float, float], None]) -> None:
        """Call ``act`` at every tick, with ``held`` and the CPU time of the loop's thread since the previous tick."""
        self._followers.append(act)

    def overdue(self) -> float:
        """Return the delay of the pending tick so far, in seconds."""
        return max(0.0, self._clock() - self._due)

    def _schedule(self) -> None:
        self._due, self._used = self._clock() + INTERVAL_SECONDS, self._cpu()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)

    def _tick(self) -> None:
        self.lag = self.overdue()
        used = self._cpu() - self._used
        self.held = min(self.lag, used)
        self._metrics.loop_measured(self.lag, self.held)
        while self._collections:
            self._metrics.collected(self._collections.pop())
        self._schedule()
        for act in self._followers:
            act(self.held, used)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Time a full collection. The next tick records it: a collection can begin while the metrics are locked."""
        if info["generation"] < _FULL:
            return
        if phase == "start":
            self._collecting = self._clock()
        else:
            self._collections.append(self._clock() - self._collecting)
