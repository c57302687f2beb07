"""Attempts whose outcome is unknown: the client gets a Conflict, and a repetition first finds out what was done."""

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
"""The time after an attempt in which a search without a result does not count: the request may arrive late.

The longer one is for an attempt that was given up, the shorter one if a service answered or the connection was cut.
"""

CLOCK_SKEW = timedelta(minutes=1)
"""The time by which an upstream's clock may be behind the gateway's."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What follows an attempt whose outcome is unknown.

    Attributes:
        message: of the Conflict, reason ``OUTCOME_UNKNOWN``.
        look: returns the result of an attempt since a time; ``None`` if nothing was done. Raises GatewayError if that
            cannot be found out. Without it, the key stays taken.
    """

    message: str
    look: Callable[[datetime], Coroutine[Any, Any, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """The attempts of a key: when the first began, and when a search for the last counts (``time.monotonic``)."""

    began: datetime
    settled_at: float


def settled_at(error: GatewayError | None) -> float:
    """Return when a search counts for an attempt that ends now with an error, or is given up."""
    answered = error is not None and error.details.get("cause", error.reason) in {
        Reason.CUT,
        Reason.STATUS,
        Reason.DECODE,
    }
    return time.monotonic() + (BRIEF_SECONDS if answered else SETTLE_SECONDS)


def is_passed_on(error: GatewayError, *, looks: bool) -> bool:
    """Whether the client gets an unconfirmed error itself, and not a Conflict.

    It gets an unreadable answer. It gets a refusal with ``Retry-After`` only if the repetition ``looks`` for the first
    attempt.
    """
    return error.reason == Reason.DECODE or (looks and error.retry_after_seconds is not None)


async def confirmed(
    act: Callable[[], Coroutine[Any, Any, V]],
    doubt: Doubt | None,
    attempted: Attempted | None = None,
    *,
    keyed: bool = True,
) -> V:
    """Return the answer of ``act``, or the result of an earlier attempt.

    Args:
        act: the action.
        doubt: ``None`` if the action may be repeated.
        attempted: an earlier attempt whose outcome is unknown.
        keyed: whether the request can be repeated with a key.

    Raises:
        Conflict: reason ``OUTCOME_UNKNOWN``. A refusal with ``Retry-After`` is raised itself if a repetition looks for
            this attempt.
    """
    if doubt is None:
        return await act()
    try:
        found: V | None = await _found(doubt, attempted) if attempted is not None else None
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


async def _found(doubt: Doubt, attempted: Attempted) -> Any:
    """Return the result of an earlier attempt, searched for again when a late request would have arrived."""
    if doubt.look is None:
        return None
    since = attempted.began - CLOCK_SKEW
    found = await doubt.look(since)
    wait = attempted.settled_at - time.monotonic()
    if found is None and wait > 0:
        await asyncio.sleep(wait)
        found = await doubt.look(since)
    return found
