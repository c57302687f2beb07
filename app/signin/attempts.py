"""Limits failed sign-ins by client address, so that guessed and forged tokens cost little.

Requests without a token and tokens that are not valid have separate counters. So a client without a token, such as a
scanner behind the same NAT, delays no sign-in. Each process has its own counters: otherwise, clients without a token
could fill Redis with counters (decision 0063).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from clients.codes import Reason
from clients.errors import RateLimited, Unauthenticated
from clients.limiter import Budget, Charge, MemoryLimiter, Verdict

WINDOW_SECONDS = 60

MAX_COUNTERS = 20_000
"""Maximum number of counters. The gateway evicts the counter that was used least recently."""

_COUNTED = (Reason.TOKEN_MISSING, Reason.TOKEN_INVALID)
"""The failures that count. An expired or revoked token proves an earlier sign-in, and does not count."""


class SignInMetrics(Protocol):
    """The metrics of sign-in."""

    def sign_in_failed(self, reason: str) -> None:
        """Count a failed sign-in."""

    def sign_in_refused(self) -> None:
        """Count a sign-in that the limit has refused."""


class SignInAttempts:
    """Counts failed sign-ins by client address.

    Args:
        per_minute: how many failures of each kind one address may have; 0 for no limit.
        clock: returns monotonic nanoseconds.
    """

    def __init__(
        self, per_minute: int = 0, metrics: SignInMetrics | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._limit = per_minute
        self._metrics = metrics
        self._budgets = {kind: Budget(kind, per_minute, WINDOW_SECONDS) for kind in _COUNTED if per_minute}
        self._limiter = MemoryLimiter(clock, max_counters=MAX_COUNTERS)

    @property
    def kept(self) -> int:
        """The number of counters that are in memory."""
        return self._limiter.kept

    async def check(self, address: str) -> None:
        """Raise RateLimited (``RATE_LIMIT_SIGN_IN``) if an address has sent too many invalid tokens."""
        budget = self._budgets.get(Reason.TOKEN_INVALID)
        if budget is not None and (await self._limiter.take(address, [Charge(budget, 0)])).standings[0].remaining < 1:
            raise self._refusal(await self._limiter.take(address, [Charge(budget)]))  # charges nothing, over the limit

    async def failed(self, address: str, error: Unauthenticated) -> None:
        """Count a failure. Raise RateLimited (``RATE_LIMIT_SIGN_IN``) if the address has had too many of its kind."""
        if self._metrics is not None:
            self._metrics.sign_in_failed(error.reason or error.code)
        budget = self._budgets.get(error.reason) if error.reason is not None else None
        if budget is not None and not (verdict := await self._limiter.take(address, [Charge(budget)])).allowed:
            raise self._refusal(verdict) from error

    def _refusal(self, verdict: Verdict) -> RateLimited:
        if self._metrics is not None:
            self._metrics.sign_in_refused()
        message = (
            f"More than {self._limit} sign-ins per minute from the client's network address have failed. Wait, then "
            "send a valid token."
        )
        wait = max(1, math.ceil(verdict.standings[0].retry_after))
        return RateLimited(message, reason=Reason.RATE_LIMIT_SIGN_IN, retry_after_seconds=wait)
