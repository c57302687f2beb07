"""Counts slots or bytes, with a limit for each owner and a limit for all owners together."""

from __future__ import annotations

from clients.codes import Reason
from clients.errors import Overloaded, RateLimited

RETRY_SECONDS = 1.0
"""How long a client should wait before a retry if no slot is free, in seconds."""


class Shares:
    """Counts slots in use, with a limit for each owner and a limit for all owners together.

    Args:
        total: the number of slots.
        per_owner: the maximum number of slots that one owner can hold at a time.
        unit: the noun for slots in error messages, in the plural.
        reason: the reason in errors.

    Attributes:
        taken: the number of slots in use.
    """

    def __init__(
        self, total: int, per_owner: int, *, unit: str = "concurrent requests", reason: Reason = Reason.REQUESTS
    ) -> None:
        self.total = total
        self.per_owner = min(per_owner, total)
        self._reason = reason
        self._own_limit = f"You have reached your limit of {self.per_owner:,} {unit}. Retry later."
        self._limit = f"The gateway has reached its limit of {total:,} {unit}. Retry later."
        self.taken = 0
        self._held: dict[str, int] = {}

    def held_by(self, owner: str) -> int:
        """Return how many slots an owner holds."""
        return self._held.get(owner, 0)

    def take(self, owner: str, count: int = 1) -> None:
        """Take slots for an owner.

        ``give`` frees the slots.

        Raises:
            RateLimited: the owner would exceed ``per_owner``.
            Overloaded: all owners together would exceed ``total``.
        """
        refused = self.offer(owner, count)
        if refused is not None:
            raise refused

    def offer(self, owner: str, count: int = 1) -> RateLimited | Overloaded | None:
        """Take slots like ``take``, or return the error.

        A raised error would keep its frames, and with them the request, until the next garbage collection.
        """
        held = self._held.get(owner, 0) + count
        if held > self.per_owner or self.taken + count > self.total:
            return self.refusal(owner, count)
        self.taken += count
        self._held[owner] = held
        return None

    def refusal(self, owner: str, count: int = 1) -> RateLimited | Overloaded | None:
        """Return the error that ``take`` would raise, or ``None``."""
        if self.held_by(owner) + count > self.per_owner:
            return RateLimited(self._own_limit, reason=self._reason, retry_after_seconds=RETRY_SECONDS)
        if self.taken + count > self.total:
            return Overloaded(self._limit, reason=self._reason, retry_after_seconds=RETRY_SECONDS)
        return None

    def give(self, owner: str, count: int = 1) -> None:
        """Free slots that an owner holds."""
        self.taken -= count
        left = self._held[owner] - count
        if left > 0:
            self._held[owner] = left
        else:
            del self._held[owner]


class Holding:
    """The slots that one request or WebSocket holds. ``count`` is the number of these slots."""

    __slots__ = ("_owner", "_shares", "count")

    def __init__(self, shares: Shares, owner: str) -> None:
        self._shares = shares
        self._owner = owner
        self.count = 0

    def set(self, count: int) -> None:
        """Change the number of slots to ``count``. If ``Shares.take`` raises an error, the number stays the same."""
        if count > self.count:
            refused = self._shares.offer(self._owner, count - self.count)
            if refused is not None:
                raise refused
        elif count < self.count:
            self._shares.give(self._owner, self.count - count)
        self.count = count
