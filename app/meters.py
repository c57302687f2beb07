"""Token buckets: how much a connection or a user may send in a second, with room for bursts."""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakValueDictionary

_KEPT = 1_000
"""Up to this number of meters none is dropped."""


class Meter:
    """A token bucket.

    Args:
        burst: how many units it holds, and holds at first.
        per_second: how many it gets back in a second, 0 for none.
        clock: the time in seconds.
    """

    __slots__ = ("__weakref__", "_at", "_burst", "_clock", "_left", "_per_second")

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
    """A meter for each user, which outlives the user's connections.

    Meters that are full, and so remember nothing, are dropped each time their number has doubled: a new user's meter
    costs the same however many there are. One that a connection still has in use is found again all the same.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._kept: dict[str, Meter] = {}
        self._in_use: WeakValueDictionary[str, Meter] = WeakValueDictionary()
        self._most = _KEPT

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, user_id: str) -> Meter:
        """The user's meter."""
        meter = self._in_use.get(user_id)
        if meter is None:
            meter = self._in_use[user_id] = Meter(self._burst, self._per_second)
        if user_id not in self._kept:
            if len(self._kept) >= self._most:
                self._kept = {user: kept for user, kept in self._kept.items() if not kept.is_full}
                self._most = max(_KEPT, 2 * len(self._kept))
            self._kept[user_id] = meter
        return meter
