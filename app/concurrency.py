"""An adaptive limit on concurrent requests, so that the event loop keeps up with them.

The limit falls when the loop is late. When the loop keeps up, the limit rises by the number of requests that the loop
had time for, estimated from their recent CPU time. Requests that wait for a slow service therefore do not use it up.

While the loop has no idle time, more concurrent requests only make each of them slower. The limit then follows the
mean age of the requests under way, which is half of the time from admission to answer.
"""

from __future__ import annotations

from typing import NamedTuple

LATE_SECONDS = 0.1
"""The lag above which the limit falls."""

PROMPT_SECONDS = 0.05
"""The lag below which the limit may rise."""

BACKLOG_SECONDS = 0.5
"""The maximum CPU time of all requests under way together, while the loop has no idle time."""

OLD_SECONDS = 0.25
"""The mean age of the requests under way above which the limit falls, while the loop has no idle time."""

YOUNG_SECONDS = 0.1
"""The mean age below which the limit may rise."""

BUSY = 0.9
"""The share of CPU time in elapsed time above which the loop has no idle time."""

FLOOR = 2
"""The lowest limit: one request uses the loop while another waits for a service."""

_FADING = 0.95
"""The decay of the CPU time and the number of past requests at each tick, of which there are 20 a second."""

_NEWEST = 0.7
"""The weight of the newest tick in the moving average of the busy share."""

_ENOUGH = 0.5
"""The fewest recent requests from which the CPU time of one is estimated."""

_LEAST_COST = 0.0001


class Tick(NamedTuple):
    """A measurement of the loop, in seconds: its lag, the CPU time since the last tick, the interval of ticks."""

    lag: float
    used: float
    interval: float


class ConcurrencyLimit:
    """The limit ``now``, in requests by weight: between ``FLOOR`` and ``most``."""

    def __init__(self, most: int) -> None:
        self.now = most
        self._most = most
        self._least = min(FLOOR, most)
        self._done = self._used = 0.0
        self._cost, self._busy = _LEAST_COST, 0.0
        self._room = 0.0

    def add(self, weight: float) -> None:
        """Count a request that has ended."""
        self._done += weight

    def follow(self, tick: Tick, *, load: float, age: float, is_wanted: bool) -> None:
        """Adapt the limit to a measurement of the loop.

        Args:
            tick: the newest measurement.
            load: the requests under way, by weight.
            age: the mean time since their admission, by weight, in seconds.
            is_wanted: whether requests wait to be admitted.
        """
        self._estimate(tick)
        if tick.lag > LATE_SECONDS:
            self.now = max(self._least, min(self.now, int(load) + 1) * 7 // 10)
            self._room = 0.0
        elif self._busy > BUSY:
            if age > OLD_SECONDS:
                self.now = min(self.now, int(load) + 1) - 1
            elif age < YOUNG_SECONDS and is_wanted:
                self.now += 1
            most = min(self._most, int(BACKLOG_SECONDS / self._cost))
            self.now = max(self._least, min(self.now, most))
        elif tick.lag < PROMPT_SECONDS and self.now < self._most:
            self._room += max(tick.interval / self._cost, tick.interval)
            self.now = min(self._most, self.now + int(self._room))
            self._room %= 1

    def _estimate(self, tick: Tick) -> None:
        """Update the busy share of the loop and the CPU time of a request, over about the last second."""
        self._busy += (tick.used / (tick.interval + tick.lag) - self._busy) * _NEWEST
        self._used, self._done = self._used * _FADING + tick.used, self._done * _FADING
        if self._done >= _ENOUGH:
            self._cost = max(self._used / self._done, _LEAST_COST)
