"""Counts HTTP requests against rate limits, and reports the limits in response headers.

``X-RateLimit-Resource`` names the limit that refused the request, or else the limit with the fewest requests left.
``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` describe this limit. ``Reset`` is in seconds from now.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from functools import lru_cache

from starlette.types import Message, Send

from clients.limiter import Budget, Standing
from clients.state.cache import Versions
from resolvers.limits import LimitExceeded, LimitKind, RateLimits

HEADERS = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Resource"]

Fields = list[tuple[bytes, bytes]]

_LIMIT, _REMAINING, _RESET, _RESOURCE = (name.lower().encode() for name in HEADERS)


class CountedSend:
    """Wraps ASGI's ``send``, and adds ``X-RateLimit-*`` headers to the response."""

    __slots__ = ("_fields", "_send")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._fields: Fields = []

    def __call__(self, message: Message) -> Awaitable[None]:
        """Send one ASGI message."""
        if self._fields and message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *self._fields]
        return self._send(message)

    async def count(self, limits: RateLimits, user_id: str, *kinds: LimitKind, tags: bool = False) -> Versions | None:
        """Count the request against the rate limits in ``kinds``. Raise RateLimited if the request exceeds a limit.

        If ``tags`` is true, return the versions of the user's cache tags.
        """
        allowance = await limits.charge(user_id, *kinds, tags=tags)
        self._fields = _fields(allowance.standings)
        allowance.check()
        return allowance.tags

    def exceeded(self, error: LimitExceeded) -> None:
        """Report the limit that has refused the request after ``count``."""
        self._fields = _fields([error.standing])


def _fields(standings: Sequence[Standing]) -> Fields:
    if not standings:
        return []
    strictest = standings[0]
    for standing in standings[1:]:
        if (standing.retry_after, -standing.remaining) > (strictest.retry_after, -strictest.remaining):
            strictest = standing
    limit, resource = _of_budget(strictest.budget)
    remaining = (_REMAINING, b"%d" % strictest.remaining)
    return [limit, remaining, (_RESET, b"%d" % math.ceil(strictest.resets_after)), resource]


@lru_cache(16)  # there are few budgets
def _of_budget(budget: Budget) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """Return the headers that do not change."""
    return (_LIMIT, b"%d" % budget.limit), (_RESOURCE, budget.name.encode())
