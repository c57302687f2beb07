"""Converts failed calls to services to the gateway's errors."""

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
    """Convert a timeout or connection error to a GatewayError.

    ``sent`` is true if the service may have received the request.
    """
    name = display_name(service)
    match error:
        case BulkheadFull():
            message = f"Too many calls to {name} are in progress. Retry later."
            return UpstreamUnavailable(message, reason=Reason.BULKHEAD_FULL, service=service)
        case httpx.ConnectTimeout() | httpx.ConnectError() | httpx.UnsupportedProtocol():
            message = f"The gateway cannot connect to {name}. Retry later."
            return UpstreamUnavailable(message, reason=Reason.CONNECT, service=service)
        case TimeoutError() | httpx.TimeoutException():
            message = (
                f"{name} did not answer in time. Retry the request. If the request has an idempotency key or stream "
                "key, use the same key."
            )
            return UpstreamTimeout(message, reason=timeout_reason, service=service, unconfirmed=sent)
        case _:
            return of_body(service, error)


def of_body(service: Service, error: Exception) -> UpstreamError:
    """Return the error for a response body that is incomplete, too large or corrupt."""
    if isinstance(error, TooLarge):
        message = f"{display_name(service)} sent an answer of {error}, which is too large. Request less data."
        return UpstreamError(message, reason=Reason.TOO_LARGE, service=service, can_retry=False, unconfirmed=True)
    if isinstance(error, EncodingUnreadable):
        return undecodable(service)
    message = (
        f"The connection to {display_name(service)} broke during the answer. Retry the request. If the request has an "
        "idempotency key or stream key, use the same key."
    )
    return UpstreamError(message, reason=Reason.CUT, service=service)


def nothing_was_sent(error: httpx.TransportError) -> bool:
    """Return whether the error occurred before any byte of the request was sent."""
    return isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.UnsupportedProtocol)


def of_status(service: Service, answer: Answer) -> UpstreamError:
    """Return the error for an answer whose status is neither 2xx nor 4xx."""
    name = display_name(service)
    if answer.status >= 500:
        message, wait = f"{name} failed with status {answer.status}. Retry later.", retry_after_seconds(answer.headers)
        return UpstreamError(message, reason=Reason.STATUS, service=service, retry_after_seconds=wait)
    kind = "redirect" if is_redirect(answer.status) else "unexpected"
    message = f"{name} answered with the {kind} status {answer.status}. Check {_setting(service)}."
    return UpstreamError(message, reason=Reason.STATUS, service=service, can_retry=False)


def check_ping(service: Service, answer: Answer) -> None:
    """Raise UpstreamError for an unsuccessful health check."""
    if not 200 <= answer.status < 300:
        raise of_status(service, answer)
    try:
        _JSON.decode(answer.body)
    except UNREADABLE as error:
        message = f"{display_name(service)}'s health check returns invalid JSON. Check {_setting(service)}."
        raise UpstreamError(message, reason=Reason.DECODE, service=service, can_retry=False) from error


def is_redirect(status: int) -> bool:
    """Return whether an HTTP status is a redirect.

    To prevent SSRF and credential leaks, the gateway follows no redirect.
    """
    return 300 <= status < 400 and status != 304


def of_breaker(service: Service, call: Call, refused: BreakerRefused) -> UpstreamUnavailable:
    """Return the error for a call that a circuit breaker refused.

    The error can name the call's model, but contains no id.
    """
    name, seconds = display_name(service), math.ceil(refused.retry_after_seconds)
    if refused.part is not None and call.model:
        subject, reason = f"the model {call.model[:MAX_NAME]}", Reason.MODEL
    elif refused.part is not None:
        subject, reason = f"{name} for `{call.operation}`", Reason.BREAKER_OPEN
    else:
        subject, reason = name, Reason.BREAKER_OPEN
    return UpstreamUnavailable(
        f"Calls to {subject} have failed repeatedly, so the gateway refuses new calls. Retry in {seconds} s.",
        reason=reason,
        service=service,
        retry_after_seconds=round(refused.retry_after_seconds, 3),
    )


def _setting(service: Service) -> str:
    """Return the name of the setting for the service's URL."""
    return "SUPABASE_URL" if service is Service.SUPABASE else f"{service.name}_BASE_URL"
