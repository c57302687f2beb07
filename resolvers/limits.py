"""Rate limits for each user's requests, model requests, model calls by agents, and tokens.

Each kind of request is counted separately, so a user's other requests do not stop a running turn's model calls
(``PROXY``). Tokens are reserved before a model call, and corrected after the call (decision 0052).
"""

import math
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput, RateLimited
from clients.limiter import Budget, Charge, Limiter, Standing
from clients.state.cache import Versions

WINDOW_SECONDS = 60


class LimitKind(StrEnum):
    """The kinds of requests that have a rate limit."""

    GENERAL = "general"
    LLM = "llm"
    PROXY = "proxy"
    TOKENS = "tokens"


_REFUSALS = {
    LimitKind.GENERAL: (Reason.RATE_LIMIT_GENERAL, "requests"),
    LimitKind.LLM: (Reason.RATE_LIMIT_LLM, "requests to models"),
    LimitKind.PROXY: (Reason.RATE_LIMIT_PROXY, "model calls by your agents"),
    LimitKind.TOKENS: (Reason.RATE_LIMIT_TOKENS, "tokens"),
}


class RateLimitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A user's rate limit, and the remaining requests or tokens.

    ``resets_at`` is ``None`` if nothing counts against the limit.
    """

    kind: LimitKind
    limit: int
    window_seconds: int
    remaining: int
    resets_at: datetime | None


class LimitMetrics(Protocol):
    """The metrics of rate limits."""

    def request_refused(self, limit: LimitKind) -> None:
        """Count a request that a rate limit has refused."""


class LimitExceeded(RateLimited):
    """The error for a request that exceeds a rate limit. ``standing`` is the limit's state."""

    def __init__(self, message: str, standing: Standing, *, reason: Reason, retry_after_seconds: float) -> None:
        super().__init__(message, reason=reason, retry_after_seconds=retry_after_seconds)
        self.standing = standing


class Allowance(msgspec.Struct, frozen=True):
    """A user's rate limits after a request, with the error if the request was refused.

    ``tags`` is the versions of the user's cache tags, if they were read.
    """

    standings: Sequence[Standing]
    refusal: LimitExceeded | None = None
    tags: Versions | None = None

    def check(self) -> None:
        """Raise RateLimited if the request was refused."""
        if self.refusal is not None:
            raise self.refusal


class Reservation:
    """The tokens that one model call has reserved. ``tokens`` is the number of reserved tokens.

    At any time, the counted tokens of a window are the sum of its calls' tokens: the used tokens of settled calls, and
    the reserved tokens of the other calls. Tokens that a call has used in addition to its reservation count in the
    window in which the call is settled.
    """

    def __init__(self, limiter: Limiter, user_id: str, budget: Budget, tokens: int, window: int) -> None:
        self._limiter = limiter
        self._user_id = user_id
        self._budget = budget
        self._window = window
        self._is_settled = False
        self.tokens = tokens

    async def settle(self, used: int) -> None:
        """Replace the reserved tokens by the tokens that the call has used. Only the first call has an effect."""
        if self._is_settled:
            return
        self._is_settled = True
        if used != self.tokens:
            await self._limiter.take(self._user_id, [Charge(self._budget, used - self.tokens, self._window)])


class RateLimits:
    """The rate limits of all users. If a kind's limit is missing or 0, requests of this kind are unlimited.

    Attributes:
        has_token_limit: whether tokens are limited.
    """

    def __init__(self, limiter: Limiter, limits: Mapping[LimitKind, int], metrics: LimitMetrics) -> None:
        self._limiter = limiter
        self._metrics = metrics
        self._budgets = {
            kind: Budget(kind.value, limits[kind], WINDOW_SECONDS) for kind in LimitKind if limits.get(kind, 0) > 0
        }

        self._prepared: dict[tuple[LimitKind, ...], list[Charge]] = {}
        self.has_token_limit = LimitKind.TOKENS in self._budgets

    def charge(self, user_id: str, *kinds: LimitKind, tags: bool = False) -> Awaitable[Allowance]:
        """Count a request against several rate limits. A refused request counts against no limit.

        If ``tags`` is true, the versions of the user's cache tags are read in the same round trip.
        """
        charges = self._prepared.get(kinds)
        if charges is None:
            charges = self._prepared[kinds] = self._charges(kinds)
        return self._apply(user_id, charges, tags=tags)

    async def count(self, user_id: str, *kinds: LimitKind, tags: bool = False) -> Versions | None:
        """Count a request like ``charge``, and return the versions of the user's cache tags. Raises RateLimited."""
        allowance = await self.charge(user_id, *kinds, tags=tags)
        allowance.check()
        return allowance.tags

    async def count_turn(self, user_id: str, *, counted: bool = False) -> None:
        """Count a turn as a request to a model, unless the turn is already ``counted``.

        Raises RateLimited, for example if the user has no tokens left.
        """
        charges = [] if counted else self._charges([LimitKind.LLM])
        if (tokens := self._budgets.get(LimitKind.TOKENS)) is not None:
            charges.append(Charge(tokens, 0, least=1))
        (await self._apply(user_id, charges)).check()

    async def give_back(self, user_id: str, kind: LimitKind) -> None:
        """Undo ``count`` for a request."""
        if charges := self._charges([kind], -1):
            await self._limiter.take(user_id, charges)

    async def reserve(self, user_id: str, least: int, more: int = 0) -> Reservation | None:
        """Reserve tokens for a model call. Returns ``None`` if tokens are unlimited.

        Args:
            user_id: the user who pays for the call.
            least: the tokens that the call needs.
            more: further tokens that the call may use. If fewer tokens are left, only these are reserved.

        Raises:
            RateLimited: the user has fewer tokens left. Waiting helps.
            BadUserInput: reason ``TOO_MANY_TOKENS``. The call needs more tokens than the limit.
        """
        budget = self._budgets.get(LimitKind.TOKENS)
        if budget is None:
            return None
        if least > budget.limit:
            message = (
                f"The request needs up to {least:,} tokens: at most {budget.limit:,} tokens per minute are allowed. "
                "Shorten the prompt, or request fewer output tokens."
            )
            raise BadUserInput(message, reason=Reason.TOO_MANY_TOKENS)
        verdict = await self._limiter.take(user_id, [Charge(budget, least + more, least=least)])
        if not verdict.allowed:
            raise self._refused(verdict.standings)
        return Reservation(self._limiter, user_id, budget, verdict.charged[0], verdict.standings[0].window)

    async def spend(self, user_id: str, tokens: int) -> None:
        """Count tokens that a call without a reservation has used. The call is never refused."""
        budget = self._budgets.get(LimitKind.TOKENS)
        if budget is not None and tokens > 0:
            await self._limiter.take(user_id, [Charge(budget, tokens, window=0)])  # like an additional cost

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

    async def _apply(self, user_id: str, charges: list[Charge], *, tags: bool = False) -> Allowance:
        if not charges:
            return Allowance(())
        verdict = await self._limiter.take(user_id, charges, tags=tags)
        refusal = None if verdict.allowed else self._refused(verdict.standings)
        return Allowance(verdict.standings, refusal, verdict.tags)

    def _charges(self, kinds: Sequence[LimitKind] | type[LimitKind], cost: int = 1) -> list[Charge]:
        return [Charge(self._budgets[kind], cost) for kind in kinds if kind in self._budgets]

    def _refused(self, standings: Sequence[Standing]) -> LimitExceeded:
        worst = max(standings, key=lambda standing: standing.retry_after)
        kind = LimitKind(worst.budget.name)
        self._metrics.request_refused(kind)
        reason, counted = _REFUSALS[kind]
        message = f"You have exceeded the limit of {worst.budget.limit} {counted} per minute. Wait, then retry."
        return LimitExceeded(message, worst, reason=reason, retry_after_seconds=math.ceil(worst.retry_after))
