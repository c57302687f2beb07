"""The rate limits of users: for all requests, for model work, and for the model calls of their agents.

Each kind is counted by itself. Model calls that Letta makes count against ``PROXY`` alone, so that the user's other
requests do not stop a turn that has started.
"""

from __future__ import annotations

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
    """The kinds of requests that are counted."""

    GENERAL = "general"
    LLM = "llm"
    PROXY = "proxy"


_REFUSALS = {
    LimitKind.GENERAL: (Reason.RATE_LIMIT_GENERAL, "requests"),
    LimitKind.LLM: (Reason.RATE_LIMIT_LLM, "requests to models"),
    LimitKind.PROXY: (Reason.RATE_LIMIT_PROXY, "model calls of your agents"),
}


class RateLimitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one of a user's limits. ``resets_at`` is ``None`` if nothing is used."""

    kind: LimitKind
    limit: int
    window_seconds: int
    remaining: int
    resets_at: datetime | None


class LimitMetrics(Protocol):
    """The metrics of limits."""

    def request_refused(self, limit: LimitKind) -> None:
        """Count a refused request."""


class Allowance(msgspec.Struct, frozen=True):
    """The state of the limits after a request, and the refusal if it was refused."""

    standings: Sequence[Standing]
    refusal: RateLimited | None = None


class RateLimits:
    """The limits of all users. A kind that ``limits`` has not, or has at 0, is not limited."""

    def __init__(self, limiter: Limiter, limits: Mapping[LimitKind, int], metrics: LimitMetrics) -> None:
        self._limiter = limiter
        self._metrics = metrics
        self._budgets = {
            kind: Budget(kind.value, limits[kind], WINDOW_SECONDS) for kind in LimitKind if limits.get(kind, 0) > 0
        }

    async def ask(self, user_id: str, *kinds: LimitKind) -> Allowance:
        """Count a request against limits, in one step. A refused one counts against none."""
        charges = self._charges(kinds)
        if not charges:
            return Allowance(())
        verdict = await self._limiter.take(user_id, charges)
        return Allowance(verdict.standings, None if verdict.allowed else self._refused(verdict.standings))

    async def count(self, user_id: str, *kinds: LimitKind) -> None:
        """Count a request against limits. Raises RateLimited."""
        refusal = (await self.ask(user_id, *kinds)).refusal
        if refusal is not None:
            raise refusal

    async def give_back(self, user_id: str, kind: LimitKind) -> None:
        """Undo the count of a request."""
        if charges := self._charges([kind], -1):
            await self._limiter.take(user_id, charges)

    async def of(self, user_id: str) -> list[RateLimitRecord]:
        """Return the state of a user's limits. This does not count as a request."""
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
        """Return the refusal by the limit with the longest wait."""
        worst = max(standings, key=lambda standing: standing.retry_after)
        kind = LimitKind(worst.budget.name)
        self._metrics.request_refused(kind)
        reason, counted = _REFUSALS[kind]
        message = f"The limit of {worst.budget.limit} {counted} per minute is reached."
        return RateLimited(message, reason=reason, retry_after_seconds=math.ceil(worst.retry_after))
