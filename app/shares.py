"""Counted slots or bytes, with a limit for each owner and one for all owners together."""

from __future__ import annotations

from collections import Counter

from clients.codes import Reason
from clients.errors import Overloaded, RateLimited

RETRY_SECONDS = 1.0
"""When a client that found no free slot may retry, in seconds."""


class Shares:
    """A count of slots: ``total`` in all, ``per_owner`` for each owner.

    Args:
        total: slots in all.
        per_owner: the most that one owner holds at a time.
        unit: the noun in error messages, in the plural.
        reason: of the errors.

    Attributes:
        taken: the slots in use.
    """

    def __init__(self, total: int, per_owner: int, *, unit: str = "requests", reason: Reason = Reason.REQUESTS) -> None:
        self.total = total
        self.per_owner = min(per_owner, total)
        self._unit = unit
        self._reason = reason
        self.taken = 0
        self._held: Counter[str] = Counter()

    def held_by(self, owner: str) -> int:
        """Return how many slots an owner holds."""
        return self._held.get(owner, 0)

    def take(self, owner: str, count: int = 1) -> None:
        """Take slots; ``give`` returns them.

        Raises:
            RateLimited: the owner would exceed ``per_owner``.
            Overloaded: all owners together would exceed ``total``.
        """
        if self.held_by(owner) + count > self.per_owner:
            limit = f"{self.per_owner:,} {self._unit}"
            message = f"You have reached the limit of {limit} at a time. Retry when some have ended."
            raise RateLimited(message, reason=self._reason, retry_after_seconds=RETRY_SECONDS)
        if self.taken + count > self.total:
            message = f"The gateway has reached its limit of {self.total:,} {self._unit} at a time. Retry."
            raise Overloaded(message, reason=self._reason, retry_after_seconds=RETRY_SECONDS)
        self.taken += count
        self._held[owner] += count

    def give(self, owner: str, count: int = 1) -> None:
        """Return slots that the owner took."""
        self.taken -= count
        if self._held[owner] > count:
            self._held[owner] -= count
        else:
            del self._held[owner]


class Holding:
    """The slots that one request or socket holds, as a count that changes."""

    __slots__ = ("_owner", "_shares", "count")

    def __init__(self, shares: Shares, owner: str) -> None:
        self._shares = shares
        self._owner = owner
        self.count = 0

    def set(self, count: int) -> None:
        """Change the count. Raises as ``Shares.take`` does, and the count then stays."""
        if count > self.count:
            self._shares.take(self._owner, count - self.count)
        elif count < self.count:
            self._shares.give(self._owner, self.count - count)
        self.count = count
