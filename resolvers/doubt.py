"""Attempts of which it is not known whether the service carried them out: told as such, and looked for first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from clients.codes import Reason
from clients.errors import GatewayError
from clients.outcome import is_unconfirmed, outcome_unknown

V = TypeVar("V")

SETTLE_SECONDS, BRIEF_SECONDS = 5.0, 1.0
"""How long after an attempt a look that finds nothing does not count yet: the request may arrive late. That is likely
where it was given up, and not where something answered or cut the connection."""

CLOCK_SKEW = timedelta(minutes=1)
"""By how much an upstream's clock may be behind the gateway's."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What to do about an attempt of which it is not known whether it was carried out.

    Attributes:
        message: of the Conflict, reason ``OUTCOME_UNKNOWN``, that it ends with: what happened, and what to do.
        look: looks for what has been done since a time; ``None`` where nothing has. Raises GatewayError where that
            cannot be told. Without it, the key stays taken.
    """

    message: str
    look: Callable[[datetime], Coroutine[Any, Any, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """Attempts under a key: when the first began, and when a look for the last one counts (``time.monotonic``)."""

    began: datetime
    settled_at: float


def settled_at(error: GatewayError | None) -> float:
    """When a look counts for an attempt that ends now, by this error or by being given up, on ``time.monotonic``."""
    answered = error is not None and error.details.get("cause", error.reason) in {
        Reason.CUT,
        Reason.STATUS,
        Reason.DECODE,
    }
    return time.monotonic() + (BRIEF_SECONDS if answered else SETTLE_SECONDS)


def says_itself(error: GatewayError, *, looks: bool) -> bool:
    """Whether an error that confirms nothing is told as it is.

    An answer that cannot be read is. A refusal for now (``Retry-After``) is retryable as it stands, so it is told only
    where the same key ``looks`` first for what was done.
    """
    return error.reason == Reason.DECODE or (looks and error.retry_after_seconds is not None)


async def confirmed(
    act: Callable[[], Coroutine[Any, Any, V]],
    doubt: Doubt | None,
    attempted: Attempted | None = None,
    *,
    keyed: bool = True,
) -> V:
    """The answer of ``act``, or what an earlier attempt has done.

    Args:
        act: what is to be done.
        doubt: what to do where it is not known whether it was; ``None`` for what may be done twice.
        attempted: the earlier attempt, whose outcome is not known.
        keyed: whether a key can come back for it.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``, where it is not known whether it was carried out. A refusal for now, which
            says when to come back, is told as it is where the key can look first.
    """
    if doubt is None:
        return await act()
    try:
        found: V | None = await _looked(doubt, attempted) if attempted is not None else None
    except GatewayError as error:
        raise outcome_unknown(doubt.message, error) from error
    if found is not None:
        return found
    try:
        return await act()
    except GatewayError as error:
        looks = keyed and doubt.look is not None
        if is_unconfirmed(error) and (error.retry_after_seconds is None or not looks):
            raise outcome_unknown(doubt.message, error) from error
        raise


async def _looked(doubt: Doubt, attempted: Attempted) -> Any:
    """What an earlier attempt has done; looked for again once a late arrival would be there."""
    if doubt.look is None:
        return None
    since = attempted.began - CLOCK_SKEW
    found = await doubt.look(since)
    wait = attempted.settled_at - time.monotonic()
    if found is None and wait > 0:
        await asyncio.sleep(wait)
        found = await doubt.look(since)
    return found
