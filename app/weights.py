"""The weights of requests under load, from the recent cost of their owners' requests."""

from __future__ import annotations

from clients.bounded import Lru

REQUEST_WORK = 1.0
"""The work of a request without calls, roughly in milliseconds of CPU time."""

CALL_WORK = 1.0
"""The work of one upstream call."""

BYTES_PER_WORK = 3_000
"""The bytes of an answer that take as much work as one call."""

FADING = 0.95
"""The decay of the work of past requests at each tick of the loop's watch, of which there are 20 a second."""

NEWEST = 0.2
"""The weight of an owner's newest request in the mean of its requests."""

MANY = 8
"""From this number of concurrent requests on, an owner's requests have the weight 1."""

MAX_OWNERS = 4_096
"""The owners whose mean work is kept; the least recently seen is evicted first."""


def work_of(calls: int, size: int) -> float:
    """Return the work of a request by its upstream calls and the bytes of its answer."""
    return REQUEST_WORK + CALL_WORK * calls + size / BYTES_PER_WORK


class Weights:
    """The weights of owners' requests: 1 for those that cause most of the work, and for unknown owners.

    A weight is the mean work of the owner's last requests, divided by the work-weighted mean of all requests. Of ten
    requests of work 100 and a thousand of work 1, each of the ten counts as 1 and each of the thousand as 1/100.
    """

    def __init__(self) -> None:
        self._means: Lru[str, float] = Lru(MAX_OWNERS)
        self._work = self._squares = 0.0

    def add(self, owner: str, work: float) -> None:
        """Record the work of a request that has ended."""
        self._work += work
        self._squares += work * work
        mean = self._means.get(owner)
        self._means.put(owner, work if mean is None else mean + (work - mean) * NEWEST)

    def knows(self, owner: str) -> bool:
        """Whether the mean work of the owner's requests is known."""
        return owner in self._means

    def of(self, owner: str, held: int) -> float:
        """Return the weight of the next request of an owner with ``held`` requests under way."""
        mean = self._means.get(owner)
        if mean is None or not self._work or held >= MANY:
            return 1.0
        return min(1.0, mean * self._work / self._squares)

    def fade(self) -> None:
        """Reduce the influence of past requests. Called at every tick."""
        self._work *= FADING
        self._squares *= FADING
