"""Rate limits for each user's requests, model requests and model calls by agents.

Each kind of request is counted separately, so a user's other requests do not stop a running turn's model calls
(``PROXY``).
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec

from clients.codes import Reason
from clients.errors import RateLimited
from clients.limiter import Budget, Charge, Limiter, Standing

WINDOW_SECONDS = 60


class LimitKind(StrEnum):
    """The kinds of requests that have a rate limit."""

    GENERAL = "general"
    LLM = "llm"
    PROXY = "proxy"


_REFUSALS = {
    LimitKind.GENERAL: (Reason.RATE_LIMIT_GENERAL, "requests"),
    LimitKind.LLM: (Reason.RATE_LIMIT_LLM, "requests to models"),
    LimitKind.PROXY: (Reason.RATE_LIMIT_PROXY, "model calls by your agents"),
}


class RateLimitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A user's rate limit and remaining requests. ``resets_at`` is ``None`` if no request counts against the limit."""

    kind: LimitKind
    limit: int
    window_seconds: int
    remaining: int
    resets_at: datetime | None


class LimitMetrics(Protocol):
    """The metrics of rate limits."""

    def request_refused(self, limit: LimitKind) -> None:
        """Count a request that a rate limit has refused."""


class Allowance(msgspec.Struct, frozen=True):
    """A user's rate limits after a request, with the error if the request was refused."""

    standings: Sequence[Standing]
    refusal: RateLimited | None = None


class RateLimits:
    """The rate limits of all users. If a kind's limit is missing or 0, requests of this kind are unlimited."""

    def __init__(self, limiter: Limiter, limits: Mapping[LimitKind, int], metrics: LimitMetrics) -> None:
        self._limiter = limiter
        self._metrics = metrics
        self._budgets = {
            kind: Budget(kind.value, limits[kind], WINDOW_SECONDS) for kind in LimitKind if limits.get(kind, 0) > 0
        }

    async def charge(self, user_id: str, *kinds: LimitKind) -> Allowance:
        """Count a request against several rate limits. A refused request counts against no limit."""
        charges = self._charges(kinds)
        if not charges:
            return Allowance(())
        verdict = await self._limiter.take(user_id, charges)
        return Allowance(verdict.standings, None if verdict.allowed else self._refused(verdict.standings))

    async def count(self, user_id: str, *kinds: LimitKind) -> None:
        """Count a request against rate limits. Raises RateLimited."""
        refusal = (await self.charge(user_id, *kinds)).refusal
        if refusal is not None:
            raise refusal

    async def give_back(self, user_id: str, kind: LimitKind) -> None:
        """Undo ``count`` for a request."""
        if charges := self._charges([kind], -1):
            await self._limiter.take(user_id, charges)

    async def of(self, user_id: str) -> list[RateLimitRecord]:
        """Return a user's rate limits and remaining requests, without counting a request."""
        verdict = await self._limiter.take(user_id, self._charges(LimitKind, 0))
        now = datetime.now(UTC)
        return [
            RateLimitRecord(
                kind=LimitKind(standing.budget.name),
                limit=standing.budget.limit,
                window_seconds=WINDOW_SECONDS,
                remaining=standing.remaining,
                resets_at=now + timedelta(seconds=standing.resets_after) if standing.resets_after else None,
            )
            for standing in verdict.standings
        ]

    def _charges(self, kinds: Sequence[LimitKind] | type[LimitKind], cost: int = 1) -> list[Charge]:
        return [Charge(self._budgets[kind], cost) for kind in kinds if kind in self._budgets]

    def _refused(self, standings: Sequence[Standing]) -> RateLimited:
        worst = max(standings, key=lambda standing: standing.retry_after)
        kind = LimitKind(worst.budget.name)
        self._metrics.request_refused(kind)
        reason, counted = _REFUSALS[kind]
        message = f"You have exceeded the limit of {worst.budget.limit} {counted} per minute. Wait, then retry."
        return RateLimited(message, reason=reason, retry_after_seconds=math.ceil(worst.retry_after))
