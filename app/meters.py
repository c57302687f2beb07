"""Token buckets: how much a connection or a user may send in a second, with room for bursts."""

from __future__ import annotations

import time
from collections.abc import Callable

_KEPT = 1_000
"""Users whose meters are kept; beyond it those that are full, and so remember nothing, are dropped."""


class Meter:
    """A token bucket.

    Args:
        burst: how many units it holds, and holds at first.
        per_second: how many it gets back in a second, 0 for none.
        clock: the time in seconds.
    """

    __slots__ = ("_at", "_burst", "_clock", "_left", "_per_second")

    def __init__(self, burst: float, per_second: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._left, self._at = burst, clock()

    def take(self, units: float = 1) -> bool:
        """Take units; whether there were enough. What is refused takes none."""
        if self._left < units:
            self._refill()
            if self._left < units:
                return False
        self._left -= units
        return True

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing."""
        self._refill()
        return self._left >= self._burst

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now


class Meters:
    """A meter for each user, which outlives the user's connections."""

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._meters: dict[str, Meter] = {}

    def of(self, user_id: str) -> Meter:
        """The user's meter."""
        meter = self._meters.get(user_id)
        if meter is None:
            if len(self._meters) >= _KEPT:
                self._meters = {user: kept for user, kept in self._meters.items() if not kept.is_full}
            meter = self._meters[user_id] = Meter(self._burst, self._per_second)
        return meter
