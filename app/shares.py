"""Places with a limit for each owner and one for all owners together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from clients.errors import Overloaded, RateLimited

RETRY_SECONDS = 1.0
"""When a client that was refused for want of a place may try again, in seconds."""


class Shares:
    """A count of places: ``total`` in all, ``per_owner`` for each owner.

    Args:
        total: places in all.
        per_owner: the most that one owner holds at a time.
        what: what takes a place, in the plural, as error messages name it. Its capitals are the error's ``reason``.
    """

    def __init__(self, total: int, per_owner: int, *, what: str = "requests") -> None:
        self.total = total
        self.per_owner = min(per_owner, total)
        self._what = what
        self._reason = what.upper().replace(" ", "_")
        self._held: Counter[str] = Counter()
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    def held_by(self, owner: str) -> int:
        """Return how many places an owner holds."""
        return self._held.get(owner, 0)

    def take(self, owner: str) -> None:
        """Take a place; ``give`` returns it.

        Raises:
            RateLimited: the owner holds its share already.
            Overloaded: every place is taken.
        """
        if self._held.get(owner, 0) >= self.per_owner:
            message = f"You have {self.per_owner} {self._what} at a time already, which is the most."
            raise RateLimited(message, reason=self._reason, retry_after_seconds=RETRY_SECONDS)
        if self._taken >= self.total:
            message = f"The gateway has {self.total} {self._what} at a time already, which is the most. Try again."
            raise Overloaded(message, reason=self._reason, retry_after_seconds=RETRY_SECONDS)
        self._taken += 1
        self._held[owner] += 1

    def give(self, owner: str) -> None:
        """Return a place that the owner took."""
        self._taken -= 1
        if self._held[owner] > 1:
            self._held[owner] -= 1
        else:
            del self._held[owner]

    @contextmanager
    def held(self, owner: str) -> Iterator[None]:
        """Hold a place while the context lasts. Raises as ``take`` does."""
        self.take(owner)
        try:
            yield
        finally:
            self.give(owner)
