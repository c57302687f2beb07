"""Decides from heartbeats which replicas live, and what this replica may do."""

import time
from collections.abc import Callable

from clients.state.streams.backend import Beat


class Liveness:
    """The heartbeats of one replica. ``dead`` has the replicas whose heartbeats have expired.

    After an outage of Redis, the heartbeats of living replicas have expired too. So a replica treats others as dead
    only after its own heartbeat was valid for a whole lease.

    Args:
        lease: how long a heartbeat is valid, in seconds.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.dead: frozenset[str] = frozenset()
        self._living: frozenset[str] = frozenset()
        self._lease = lease
        self._clock = clock
        self._attempted_at = clock()
        self._slept_until = float("-inf")
        self._has_failed = True
        self._steady_since = 0.0
        self._now = 0.0

    def begin(self) -> None:
        """Record that the replica is about to send a heartbeat."""
        now = self._clock()
        if now - self._attempted_at > self._lease:
            self._slept_until = now
        self._attempted_at = now

    def failed(self) -> None:
        """Record that Redis did not store the heartbeat."""
        self._has_failed = True

    def beaten(self, beat: Beat) -> None:
        """Record the answer to a heartbeat."""
        has_lapsed = beat.expired_at is not None and beat.expired_at <= beat.now
        if has_lapsed and not self._has_failed:
            self._slept_until = self._clock()
        if has_lapsed or self._has_failed or beat.expired_at is None:
            self._steady_since = beat.now
        self._has_failed = False
        self._now = beat.now
        gone = (self._living | beat.dead) if self.may_take_over else frozenset()
        self.dead = (self.dead | gone) - beat.living
        self._living = beat.living if self.may_take_over else self._living | beat.living

    @property
    def may_take_over(self) -> bool:
        """Return whether replicas without a valid heartbeat are dead."""
        return not self._has_failed and self._now - self._steady_since >= self._lease * 1000

    def has_slept_since(self, moment: float) -> bool:
        """Return whether this process was suspended for a lease since a moment of the clock.

        Other replicas may have taken over this replica's streams meanwhile.
        """
        return self._slept_until >= moment or self._clock() - self._attempted_at > self._lease
