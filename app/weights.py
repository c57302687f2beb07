"""Computes the weights of requests for load shedding, from the recent work of each owner's requests."""

from __future__ import annotations

from clients.bounded import Lru

REQUEST_WORK = 1.0
"""Estimated CPU time of a request without upstream calls, in milliseconds."""

CALL_WORK = 1.0
"""Estimated CPU time of one upstream call, in milliseconds."""

BYTES_PER_WORK = 3_000
"""How many bytes of an answer take as much CPU time as one upstream call."""

FADING = 0.95
"""At each tick of ``LoopWatch``, past requests' work is multiplied by this factor."""

NEWEST = 0.2
"""The weight of an owner's newest request in the moving average of the owner's work per request."""

MANY = 8
"""If an owner has this many concurrent requests, the owner's next request has the maximum weight, 1."""

MAX_OWNERS = 4_096
"""Maximum number of owners whose average work is stored. The least recently seen owner is evicted first."""


def work_of(calls: int, size: int) -> float:
    """Estimate a request's CPU time in milliseconds from its upstream calls and its answer's size in bytes."""
    return REQUEST_WORK + CALL_WORK * calls + size / BYTES_PER_WORK


class Weights:
    """Computes a request's weight from the recent work of the owner's requests.

    The weight is the mean work of the owner's last requests, divided by the work-weighted mean of all requests, and at
    most 1. An unknown owner has the weight 1. For example, with ten requests of work 100 and a thousand of work 1, the
    weights are 1 and about 1/50.
    """

    def __init__(self) -> None:
        self._means: Lru[str, float] = Lru(MAX_OWNERS)
        self._work = self._squares = 0.0

    def add(self, owner: str, work: float) -> None:
        """Record the work (``work_of``) of a request that has ended."""
        self._work += work
        self._squares += work * work
        mean = self._means.get(owner)
        self._means.put(owner, work if mean is None else mean + (work - mean) * NEWEST)

    def knows(self, owner: str) -> bool:
        """Return whether the average work of an owner's requests is known."""
        return owner in self._means

    def of(self, owner: str, held: int) -> float:
        """Return the weight of an owner's next request. The owner has ``held`` requests in flight."""
        mean = self._means.get(owner)
        if mean is None or not self._work or held >= MANY:
            return 1.0
        return min(1.0, mean * self._work / self._squares)

    def fade(self) -> None:
        """Reduce the influence of past requests on weights. ``Shedder`` calls this method at every tick."""
        self._work *= FADING
        self._squares *= FADING
