"""Measures the lag of the event loop, and the duration of full garbage collections."""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

INTERVAL_SECONDS = 0.05
"""The time between measurements of the event loop, in seconds. The measurements take less than 0.1% of a CPU core."""

_NEWEST = 0.1
"""The newest tick's weight in the moving average of the ticks without a wait for events."""

_MOST = 0.5
"""Minimum fraction of the recent ticks without a wait for events, for a loop without idle time."""

_FULL = 2
"""Python's oldest generation, whose collections visit every container object."""


class LagMetrics(Protocol):
    """Receives measurements of the event loop and of garbage collections."""

    def loop_measured(self, late: float, held: float) -> None:
        """Record that the event loop was ``late`` seconds late. The process itself caused ``held`` of these seconds."""

    def collected(self, seconds: float) -> None:
        """Record the duration of a full garbage collection, in seconds."""


class LoopWatch:
    """Measures the event loop's lag with a periodic timer.

    The timer ticks every ``INTERVAL_SECONDS``. ``lag`` is the delay of the newest tick in seconds. ``held`` is the part
    of the delay that this process caused: at most the CPU time of the loop's thread since the previous tick.

    Args:
        clock: wall-clock time, in seconds.
        cpu: CPU time of the calling thread, in seconds.
        sleeps: how often the calling thread has waited, for example for an event.
    """

    def __init__(
        self,
        metrics: LagMetrics,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
        sleeps: Callable[[], int] = lambda: resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw,
    ) -> None:
        self.lag = self.held = 0.0
        self._metrics = metrics
        self._followers: list[Callable[[float, float], None]] = []
        self._clock = clock
        self._cpu = cpu
        self._sleeps = sleeps
        self._due = self._used = 0.0
        self._slept = 0
        self._sleepless = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._collecting = 0.0
        self._collections: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure the event loop's lag until the ``with`` block ends."""
        gc.callbacks.append(self._on_collection)
        self._schedule()
        try:
            yield
        finally:
            gc.callbacks.remove(self._on_collection)
            if self._timer is not None:
                self._timer.cancel()

    def follow(self, act: Callable[[float, float], None]) -> None:
        """Call ``act`` after each measurement of the event loop.

        ``act`` receives two times in seconds: the lag that this process caused, and the loop's busy time since the
        previous tick. The busy time is the CPU time. If the loop has hardly waited for events in the last half second,
        the busy time is the whole time, even if other processes have used the CPU meanwhile.
        """
        self._followers.append(act)

    def overdue(self) -> float:
        """Return the event loop's current lag, in seconds.

        The lag is the time since the next tick was due, or 0 if the tick is not yet due.
        """
        return max(0.0, self._clock() - self._due)

    def _schedule(self) -> None:
        self._due, self._used, self._slept = self._clock() + INTERVAL_SECONDS, self._cpu(), self._sleeps()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._tick)

    def _tick(self) -> None:
        self.lag = self.overdue()
        used = self._cpu() - self._used
        self.held = min(self.lag, used)
        busy = self._busy(used)
        self._metrics.loop_measured(self.lag, self.held)
        while self._collections:
            self._metrics.collected(self._collections.pop())
        self._schedule()
        for act in self._followers:
            act(self.held, busy)

    def _busy(self, used: float) -> float:
        """Return the loop's busy time since the previous tick, in seconds. See ``follow``."""
        never_slept = self._sleeps() == self._slept
        self._sleepless += (never_slept - self._sleepless) * _NEWEST
        return INTERVAL_SECONDS + self.lag if never_slept and self._sleepless > _MOST else used

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Measure a full garbage collection's duration.

        The next tick records the duration, because metrics may be locked during a collection.
        """
        if info["generation"] < _FULL:
            return
        if phase == "start":
            self._collecting = self._clock()
        else:
            self._collections.append(self._clock() - self._collecting)
