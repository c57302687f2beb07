"""Requests of which it is not known whether they were carried out."""

from __future__ import annotations

from clients.codes import Reason
from clients.errors import Conflict, GatewayError, UpstreamFailure


def is_unconfirmed(error: GatewayError) -> bool:
    """Whether what was asked may have been done although it failed."""
    return error.reason is Reason.OUTCOME_UNKNOWN or (isinstance(error, UpstreamFailure) and error.unconfirmed)


def outcome_unknown(advice: str, cause: GatewayError | None = None) -> Conflict:
    """The error of a request that may have been carried out.

    Args:
        advice: what is not known, and what to do.
        cause: the failure behind it, whose message comes first; its reason is kept in ``details``, as ``cause``. One
            that is such an error itself is answered as it is.
    """
    if cause is None:
        return Conflict(advice, reason=Reason.OUTCOME_UNKNOWN)
    if isinstance(cause, Conflict) and cause.reason is Reason.OUTCOME_UNKNOWN:
        return cause
    return Conflict(
        f"{cause.message} {advice}",
        reason=Reason.OUTCOME_UNKNOWN,
        service=cause.service,
        retry_after_seconds=cause.retry_after_seconds,
        details={"cause": cause.reason} if cause.reason else None,
    )
