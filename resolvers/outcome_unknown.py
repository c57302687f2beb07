"""Handles mutations whose outcome is unknown. A retry first searches for the earlier attempt's result."""

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
"""How long an attempt's request may still reach the service, in seconds.

Until then, an empty search result is not final.

The longer time is for an attempt that the gateway gave up. The shorter time is for an attempt that was answered or
whose connection was cut.
"""

CLOCK_SKEW = timedelta(minutes=1)
"""The time by which a service's clock may be behind the gateway's clock."""


@dataclass(frozen=True, kw_only=True)
class OutcomeUnknown:
    """How a mutation handles an attempt whose outcome is unknown.

    Attributes:
        message: the message of the Conflict (``OUTCOME_UNKNOWN``).
        find: returns the result of an attempt that began after a given time, or ``None``. Raises GatewayError if the
            search is not conclusive. Without ``find``, the key cannot be used again.
    """

    message: str
    find: Callable[[datetime], Coroutine[Any, Any, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """Attempts of a mutation with one idempotency key. A search is final after ``settled_at`` (``time.monotonic``)."""

    began: datetime
    settled_at: float


def settled_at(error: GatewayError | None) -> float:
    """Return the time from which a search for an ended attempt's result is final (``time.monotonic``)."""
    answered = error is not None and error.details.get("cause", error.reason) in {
        Reason.CUT,
        Reason.STATUS,
        Reason.DECODE,
        Reason.TOO_LARGE,
    }
    return time.monotonic() + (BRIEF_SECONDS if answered else SETTLE_SECONDS)


def is_passed_on(error: GatewayError, *, can_search: bool) -> bool:
    """Return whether the client gets the attempt's error instead of Conflict (``OUTCOME_UNKNOWN``).

    If a retry can search for the attempt, the client gets the error for a refusal with ``Retry-After``.
    """
    return can_search and error.retry_after_seconds is not None


async def confirmed(
    act: Callable[[], Coroutine[Any, Any, V]],
    on_unknown: OutcomeUnknown | None,
    attempted: Attempted | None = None,
    *,
    keyed: bool = True,
) -> V:
    """Return an earlier attempt's result. If no result is found, run ``act``.

    Args:
        act: the action.
        on_unknown: ``None`` if the action may be repeated.
        attempted: an earlier attempt whose outcome is unknown.
        keyed: whether the client can retry with a key.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``.
        GatewayError: ``act`` is known to have failed, or a retry after ``Retry-After`` can search for the attempt.
    """
    if on_unknown is None:
        return await act()
    try:
        found: V | None = await _found(on_unknown, attempted) if attempted is not None else None
    except GatewayError as error:
        raise outcome_unknown(on_unknown.message, error) from error
    if found is not None:
        return found
    try:
        return await act()
    except GatewayError as error:
        can_search = keyed and on_unknown.find is not None
        if is_unconfirmed(error) and (error.retry_after_seconds is None or not can_search):
            raise outcome_unknown(on_unknown.message, error) from error
        raise


async def _found(on_unknown: OutcomeUnknown, attempted: Attempted) -> Any:
    """Search for an earlier attempt's result. If nothing is found, search again after ``settled_at``."""
    if on_unknown.find is None:
        return None
    since = attempted.began - CLOCK_SKEW
    found = await on_unknown.find(since)
    wait = attempted.settled_at - time.monotonic()
    if found is None and wait > 0:
        await asyncio.sleep(wait)
        found = await on_unknown.find(since)
    return found
