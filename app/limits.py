"""Counts HTTP requests against rate limits, and reports the limits in response headers.

``X-RateLimit-Resource`` names the limit that refused the request, or else the limit with the fewest requests left.
``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset`` describe this limit. ``Reset`` is in seconds from now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from clients.limiter import Standing
from clients.state.cache import Versions
from resolvers.limits import LimitExceeded, LimitKind, RateLimits

HEADERS = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Resource"]


class CountedSend:
    """Wraps ASGI's ``send``, and adds ``X-RateLimit-*`` headers to the response."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._fields: dict[str, str] = {}

    async def __call__(self, message: Message) -> None:
        """Send one ASGI message."""
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(self._fields)
        await self._send(message)

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


def _fields(standings: Sequence[Standing]) -> dict[str, str]:
    if not standings:
        return {}
    strictest = max(standings, key=lambda standing: (standing.retry_after, -standing.remaining))
    values = (strictest.budget.limit, strictest.remaining, math.ceil(strictest.resets_after), strictest.budget.name)
    return {name: str(value) for name, value in zip(HEADERS, values, strict=True)}
