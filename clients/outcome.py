"""Errors for requests that a service may or may not have carried out."""

from clients.codes import Reason
from clients.errors import Conflict, GatewayError, UpstreamFailure


def is_unconfirmed(error: GatewayError) -> bool:
    """Return whether a service may have carried out a request that failed."""
    return error.reason is Reason.OUTCOME_UNKNOWN or (isinstance(error, UpstreamFailure) and error.unconfirmed)


def outcome_unknown(advice: str, cause: GatewayError | None = None) -> Conflict:
    """Return the error for a request whose outcome is unknown.

    ``advice`` says what the client should do. The error has the first sentence of the message and the reason of
    ``cause``. If ``cause`` has the reason ``OUTCOME_UNKNOWN``, ``cause`` is returned unchanged.
    """
    if cause is None:
        return Conflict(advice, reason=Reason.OUTCOME_UNKNOWN)
    if isinstance(cause, Conflict) and cause.reason is Reason.OUTCOME_UNKNOWN:
        return cause
    first = cause.message.partition(". ")[0].removesuffix(".")
    return Conflict(
        f"The outcome of the request is unknown, because of this error: {first}. {advice}",
        reason=Reason.OUTCOME_UNKNOWN,
        service=cause.service,
        retry_after_seconds=cause.retry_after_seconds,
        details={"cause": cause.reason} if cause.reason else None,
    )
