"""How much a request counts under overload: by what its owner's requests have cost lately."""

from __future__ import annotations

from clients.bounded import Lru

REQUEST_WORK = 1.0
"""The work of any request, in milliseconds of CPU time, about."""

CALL_WORK = 1.0
"""The work of one call to a service."""

BYTES_PER_WORK = 3_000
"""The bytes of an answer that are as much work as one call."""

FADING = 0.95
"""The decay of the work of past requests at each tick of the loop's watch, of which there are 20 a second."""

NEWEST = 0.2
"""The weight of an owner's newest request in the mean of its requests."""

MANY = 8
"""So many requests of one owner at a time are not counted as cheap, whatever the ones before them cost."""

MAX_OWNERS = 4_096
"""The owners whose requests are remembered; the least recently seen one is forgotten first."""


def work_of(calls: int, size: int) -> float:
    """The work of a request that made so many calls and was answered in so many bytes."""
    return REQUEST_WORK + CALL_WORK * calls + size / BYTES_PER_WORK


class Weights:
    """The weights of owners' requests. A request of the kind that most of the work is for has the weight 1.

    The weight of an owner's request is the mean work of their last requests, against the mean work of all requests by
    their work: of ten requests of work 100 and a thousand of work 1, each of the ten counts as one, and each of the
    thousand as a hundredth. Requests of owners who are not known have the weight 1.
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
        """Whether requests of the owner are remembered."""
        return owner in self._means

    def of(self, owner: str, held: int) -> float:
        """Return the weight of an owner's next request, who has ``held`` under way."""
        mean = self._means.get(owner)
        if mean is None or not self._work or held >= MANY:
            return 1.0
        return min(1.0, mean * self._work / self._squares)

    def fade(self) -> None:
        """Let past requests count less. It is called at every tick."""
        self._work *= FADING
        self._squares *= FADING
