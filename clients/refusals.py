"""The errors for refusals that mean the same from AMS and from Letta.

The services' own texts can contain internals and other users' objects, so they are never passed on.
"""

from __future__ import annotations

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
    """The error for a status of a refusal."""
    name, wait = display_name(service), retry_after_seconds(rejected.headers)
    match rejected.status:
        case 400 | 422:
            return BadUserInput(f"{name} refused the request as not valid.", service=service)
        case 401 | 403:
            message = f"{name} refused the gateway's credential."
            return UpstreamError(message, reason=Reason.CREDENTIAL, service=service, can_retry=False)
        case 404:
            return NotFound(f"{name} has no such object.", service=service)
        case 413:
            return PayloadTooLarge(f"The request is too large for {name}. Send less.", service=service)
        case 429:
            message = f"The rate limit of {name} is reached. Retry later."
            return RateLimited(message, service=service, retry_after_seconds=wait)
        case _:
            return unexpected(service, rejected)


def locked(service: Service, wait: float | None) -> Conflict:
    """The error for a locked object."""
    message = f"{display_name(service)} has locked an object that the request needs. Retry."
    return Conflict(message, reason=Reason.LOCKED, service=service, retry_after_seconds=wait, can_retry=True)


def unexpected(service: Service, rejected: UpstreamRejected) -> UpstreamError:
    """The error for a status that has no meaning in the contract."""
    wait = retry_after_seconds(rejected.headers)
    return UpstreamError(
        f"{display_name(service)} answered with the unexpected status {rejected.status}.",
        reason=Reason.STATUS,
        service=service,
        can_retry=wait is not None,
        unconfirmed=False,
        retry_after_seconds=wait,
    )
