"""Limits concurrent requests, so that the event loop is not overloaded.

The limit falls while the loop is late, and rises while the loop is on time. Requests that wait for a slow service do
not make the loop late, and do not lower the limit.

While the loop has no idle time, more concurrency only makes every request slower. The limit then depends on the mean
age of the requests in flight: the time since admission.
"""

from __future__ import annotations

from typing import NamedTuple

LATE_SECONDS = 0.1
"""If the event loop's lag exceeds this many seconds, the concurrency limit falls."""

PROMPT_SECONDS = 0.05
"""If the event loop's lag is below this many seconds, the concurrency limit may rise."""

BACKLOG_SECONDS = 0.5
"""Maximum estimated CPU time of all concurrent requests together, in seconds.

The maximum applies while the event loop has no idle time.
"""

OLD_SECONDS = 0.25
"""If concurrent requests were admitted on average more than this many seconds ago, the concurrency limit falls.

The rule applies while the event loop has no idle time.
"""

YOUNG_SECONDS = 0.1
"""If concurrent requests were admitted on average less than this many seconds ago, the limit may rise.

The rule applies while the event loop has no idle time.
"""

BUSY = 0.9
"""If the event loop uses more than this fraction of one CPU core, the gateway assumes that the loop has no idle time.
"""

FLOOR = 2
"""The lowest concurrency limit, in requests.

With two requests, one can use the event loop while the other waits for a service.
"""

_FADING = 0.95
"""At each tick of ``LoopWatch``, past CPU time and request counts are multiplied by this factor."""

_NEWEST = 0.7
"""The newest measurement's weight in the moving average of the event loop's CPU usage."""

_ENOUGH = 0.5
"""Minimum number of recent requests from which the gateway estimates a request's CPU time."""

_LEAST_COST = 0.0001


class Tick(NamedTuple):
    """A measurement of the event loop's lag and busy time, in seconds.

    Attributes:
        lag: how late the loop is.
        used: the loop's busy time since the previous measurement.
        interval: the planned time between two measurements.
    """

    lag: float
    used: float
    interval: float


class ConcurrencyLimit:
    """Limits concurrent requests according to the event loop's lag.

    A request's weight is its relative cost (``app.weights``). ``now`` is the current limit on the requests' total
    weight.
    """

    def __init__(self, most: int) -> None:
        self.now = most
        self._most = most
        self._least = min(FLOOR, most)
        self._done = self._used = 0.0
        self._cost, self._busy = _LEAST_COST, 0.0
        self._room = 0.0

    def add(self, weight: float) -> None:
        """Record the weight (``app.weights``) of a request that has ended."""
        self._done += weight

    def follow(self, tick: Tick, *, load: float, age: float, has_waiting: bool) -> None:
        """Raise or lower the concurrency limit after a measurement of the event loop.

        Args:
            tick: the newest measurement.
            load: the total weight of the requests in flight.
            age: how long ago these requests were admitted, as a weighted mean, in seconds.
            has_waiting: whether requests wait to be admitted.
        """
        self._estimate(tick)
        if tick.lag > LATE_SECONDS:
            self.now = max(self._least, min(self.now, int(load) + 1) * 7 // 10)
            self._room = 0.0
        elif self._busy > BUSY:
            if age > OLD_SECONDS:
                self.now = min(self.now, int(load) + 1) - 1
            elif age < YOUNG_SECONDS and has_waiting:
                self.now += 1
            most = min(self._most, int(BACKLOG_SECONDS / self._cost))
            self.now = max(self._least, min(self.now, most))
        elif tick.lag < PROMPT_SECONDS and self.now < self._most:
            self._room += max(tick.interval / self._cost, tick.interval)
            self.now = min(self._most, self.now + int(self._room))
            self._room %= 1

    def _estimate(self, tick: Tick) -> None:
        self._busy += (tick.used / (tick.interval + tick.lag) - self._busy) * _NEWEST
        self._used, self._done = self._used * _FADING + tick.used, self._done * _FADING
        if self._done >= _ENOUGH:
            self._cost = max(self._used / self._done, _LEAST_COST)
