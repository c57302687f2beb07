"""The errors for failed upstream calls."""

from __future__ import annotations

import math

import httpx
import msgspec

from clients.breakers import BreakerRefused
from clients.bulkhead import BulkheadFull
from clients.calls import MAX_NAME, Answer, Call
from clients.codes import Reason
from clients.decode import UNREADABLE, display_name, undecodable
from clients.encoding import EncodingUnreadable, TooLarge
from clients.errors import GatewayError, Service, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from clients.retry_after import retry_after_seconds

_JSON = msgspec.json.Decoder()


def of_wire(
    service: Service, error: Exception, timeout_reason: Reason = Reason.DEADLINE, *, sent: bool = True
) -> GatewayError:
    """The error for a timeout or an error of the transport; ``sent``: the service may have received the request."""
    name = display_name(service)
    match error:
        case BulkheadFull():
            message = f"Too many calls to {name} are under way. Retry later."
            return UpstreamUnavailable(message, reason=Reason.BULKHEAD_FULL, service=service)
        case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.UnsupportedProtocol():
            return UpstreamUnavailable(f"The gateway cannot connect to {name}.", reason=Reason.CONNECT, service=service)
        case TimeoutError() | httpx.TimeoutException():
            message = f"{name} did not answer in time."
            return UpstreamTimeout(message, reason=timeout_reason, service=service, unconfirmed=sent)
        case _:
            return of_body(service, error)


def of_body(service: Service, error: Exception) -> UpstreamError:
    """The error for a body that broke off, is too large or has a corrupt encoding."""
    if isinstance(error, TooLarge):
        message = f"{display_name(service)} sent an answer of {error}, which is too large."
        return UpstreamError(message, reason=Reason.TOO_LARGE, service=service, can_retry=False, unconfirmed=True)
    if isinstance(error, EncodingUnreadable):
        return undecodable(service)
    message = f"The connection to {display_name(service)} broke before the answer was complete."
    return UpstreamError(message, reason=Reason.CUT, service=service)


def nothing_was_sent(error: httpx.TransportError) -> bool:
    """Whether the transport failed before it sent any byte of the request."""
    return isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.UnsupportedProtocol)


def of_status(service: Service, answer: Answer) -> UpstreamError:
    """The error for a status other than 2xx and 4xx."""
    name = display_name(service)
    if answer.status >= 500:
        message, wait = f"{name} failed with status {answer.status}.", retry_after_seconds(answer.headers)
        return UpstreamError(message, reason=Reason.STATUS, service=service, retry_after_seconds=wait)
    happened = "redirects with" if is_redirect(answer.status) else "answers with the unexpected"
    message = f"{name} {happened} status {answer.status}. Check {service.value.upper()}_BASE_URL."
    return UpstreamError(message, reason=Reason.STATUS, service=service, can_retry=False)


def of_ping(service: Service, answer: Answer) -> UpstreamError | None:
    """The error for an answer to a health check; ``None`` if the service is available."""
    if not 200 <= answer.status < 300:
        return of_status(service, answer)
    try:
        _JSON.decode(answer.body)
    except UNREADABLE:
        message = (
            f"The health check of {display_name(service)} returns no JSON. Check {service.value.upper()}_BASE_URL."
        )
        return UpstreamError(message, reason=Reason.DECODE, service=service, can_retry=False)
    return None


def is_redirect(status: int) -> bool:
    """Whether the service redirects. Redirects are not followed: credentials are sent to the configured URL only."""
    return 300 <= status < 400 and status != 304


def of_breaker(service: Service, call: Call, refused: BreakerRefused) -> UpstreamUnavailable:
    """The error for a call that a breaker refused. It names the model, if any, and no other id."""
    name, seconds = display_name(service), math.ceil(refused.retry_after_seconds)
    if refused.part is not None and call.model:
        subject, reason = f"Model {call.model[:MAX_NAME]}", Reason.MODEL
    elif refused.part is not None:
        subject, reason = f"{name} ({call.operation})", Reason.BREAKER_OPEN
    else:
        subject, reason = name, Reason.BREAKER_OPEN
    return UpstreamUnavailable(
        f"{subject} keeps failing: its breaker is open. Retry in {seconds} s.",
        reason=reason,
        service=service,
        retry_after_seconds=round(refused.retry_after_seconds, 3),
    )
