"""Token buckets that limit the rate of each user's or connection's messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakValueDictionary

_MIN_METERS = 1_000
"""The gateway removes unused token buckets only if more than this number exist."""


class Meter:
    """A token bucket, which limits a rate and allows bursts.

    Args:
        burst: the number of tokens in a full bucket. A new bucket is full.
        per_second: the number of tokens added per second.
    """

    __slots__ = ("__weakref__", "_at", "_burst", "_clock", "_per_second", "_units")

    def __init__(self, burst: float, per_second: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_second, self._clock = burst, per_second, clock
        self._units, self._at = burst, clock()

    def take(self, units: float = 1) -> bool:
        """Take tokens from the bucket. Return whether the bucket had enough tokens."""
        if self._units < units:
            self._refill()
            if self._units < units:
                return False
        self._units -= units
        return True

    @property
    def is_full(self) -> bool:
        """Return whether the bucket is full."""
        self._refill()
        return self._units >= self._burst

    def _refill(self) -> None:
        now = self._clock()
        self._units = min(self._burst, self._units + (now - self._at) * self._per_second)
        self._at = now


class Meters:
    """The token buckets (``Meter``) of all users.

    A user's bucket remains after the user's connections have closed. Each time that the number of buckets has doubled,
    full buckets are removed, unless a connection uses them.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._meters: dict[str, Meter] = {}
        self._in_use: WeakValueDictionary[str, Meter] = WeakValueDictionary()
        self._most = _MIN_METERS

    def __len__(self) -> int:
        return len(self._meters)

    def of(self, user_id: str) -> Meter:
        """Return a user's token bucket."""
        meter = self._in_use.get(user_id)
        if meter is None:
            meter = self._in_use[user_id] = Meter(self._burst, self._per_second)
        if user_id not in self._meters:
            if len(self._meters) >= self._most:
                self._meters = {user: one for user, one in self._meters.items() if not one.is_full}
                self._most = max(_MIN_METERS, 2 * len(self._meters))
            self._meters[user_id] = meter
        return meter
