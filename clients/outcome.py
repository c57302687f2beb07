"""Requests with an unknown outcome: a service may have carried them out."""

from __future__ import annotations

from clients.codes import Reason
from clients.errors import Conflict, GatewayError, UpstreamFailure


def is_unconfirmed(error: GatewayError) -> bool:
    """Whether the service may have carried out a request that failed."""
    return error.reason is Reason.OUTCOME_UNKNOWN or (isinstance(error, UpstreamFailure) and error.unconfirmed)


def outcome_unknown(advice: str, cause: GatewayError | None = None) -> Conflict:
    """The error for a request with an unknown outcome. ``advice`` says what to do.

    The message of ``cause`` comes first, and its reason is in ``details``. If it is such an error itself, it is
    returned unchanged.
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
