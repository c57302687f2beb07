"""How many requests may be under way, so that the event loop keeps up with them.

A loop that falls behind lowers the limit. A loop that keeps up raises it by as many requests as it had the time for,
going by the CPU time that a request has cost lately. So requests that only wait, such as for a slow service, are
admitted at the rate that the loop can serve them.

While the loop has no idle time, more requests under way make each of them later, and none of them sooner. The limit
then follows the mean age of the requests under way, which is half of the time from their admission to their answer.
"""

from __future__ import annotations

from typing import NamedTuple

LATE_SECONDS = 0.1
"""The lag above which the limit falls."""

PROMPT_SECONDS = 0.05
"""The lag below which the limit may rise."""

BACKLOG_SECONDS = 0.5
"""The most CPU time that the requests under way may need together, while the loop has no idle time."""

OLD_SECONDS = 0.25
"""The mean age of the requests under way above which there are too many, while the loop has no idle time."""

YOUNG_SECONDS = 0.1
"""The mean age below which there may be more."""

BUSY = 0.9
"""The share of time at work above which the loop counts as having no idle time."""

FLOOR = 2
"""The fewest requests under way: one keeps the loop busy while another waits for a service."""

_FADING = 0.95
"""The decay of the CPU time and the number of past requests at each tick, of which there are 20 a second."""

_NEWEST = 0.7
"""The weight of the newest tick in the moving average of the share of time at work."""

_ENOUGH = 0.5
"""The fewest recent requests from which the cost of one is computed."""

_LEAST_COST = 0.0001


class Tick(NamedTuple):
    """A measurement of the loop, in seconds: its lag, the CPU time since the last one, the time between two."""

    lag: float
    used: float
    interval: float


class ConcurrencyLimit:
    """The limit, which is ``now``: between ``FLOOR`` and ``most``, in requests by weight."""

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
        """Change the limit by how the loop does.

        Args:
            tick: the newest measurement.
            load: the requests under way, by weight.
            age: how long ago they were admitted, in seconds: the mean, by weight.
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
        """Follow how busy the loop is, and the CPU time of a request: the last second's, by the requests that ended."""
        self._busy += (tick.used / (tick.interval + tick.lag) - self._busy) * _NEWEST
        self._used, self._done = self._used * _FADING + tick.used, self._done * _FADING
        if self._done >= _ENOUGH:
            self._cost = max(self._used / self._done, _LEAST_COST)
