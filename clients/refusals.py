"""Converts refusals from AMS or Letta to the gateway's errors.

Clients never get the services' own texts, which can contain internals and other users' objects.
"""

from clients.calls import UpstreamRejected
from clients.codes import Reason
from clients.decode import display_name
from clients.errors import (
    BadUserInput,
    Conflict,
    GatewayError,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Service,
    UpstreamError,
)
from clients.retry_after import retry_after_seconds


def translate(service: Service, rejected: UpstreamRejected) -> GatewayError:
    """Return the error for a call that AMS or Letta refused."""
    name, wait = display_name(service), retry_after_seconds(rejected.headers)
    match rejected.status:
        case 400 | 422:
            return BadUserInput(
                f"{name} refused the request because a value is invalid. Check the input.", service=service
            )
        case 401 | 403:
            message = f"{name} refused the gateway's credential. Report this error to the operator."
            return UpstreamError(message, reason=Reason.CREDENTIAL, service=service, can_retry=False)
        case 404:
            return NotFound(f"{name} has no object with the requested id. Check the id.", service=service)
        case 413:
            return PayloadTooLarge(f"The request is too large for {name}. Shorten the input.", service=service)
        case 429:
            message = f"The gateway has exceeded {name}'s rate limit. Retry later."
            return RateLimited(message, service=service, retry_after_seconds=wait)
        case _:
            return unexpected(service, rejected)


def locked(service: Service, wait: float | None) -> Conflict:
    """Return the error for a request that needs an object that is locked."""
    message = f"{display_name(service)} has locked an object that the request needs. Retry later."
    return Conflict(message, reason=Reason.LOCKED, service=service, retry_after_seconds=wait, can_retry=True)


def unexpected(service: Service, rejected: UpstreamRejected) -> UpstreamError:
    """Return the error for a response with an unexpected HTTP status."""
    wait = retry_after_seconds(rejected.headers)
    return UpstreamError(
        f"{display_name(service)} answered with the unexpected status {rejected.status}. Report this error to the "
        "operator.",
        reason=Reason.STATUS,
        service=service,
        can_retry=wait is not None,
        unconfirmed=False,
        retry_after_seconds=wait,
    )
