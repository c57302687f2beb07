"""The errors for refusals by AMS.

Of AMS's text, only the ``details`` of a failed validation are passed on: they mention nothing but the input.
"""

from __future__ import annotations

import msgspec

from clients import refusals
from clients.ams.records import Refusal
from clients.calls import Answer, UpstreamRejected
from clients.codes import Reason
from clients.decode import UNREADABLE
from clients.errors import Conflict, GatewayError, Invalid, NotFound, Service, UpstreamError, UpstreamTimeout
from clients.retry_after import retry_after_seconds

MAX_DETAILS, MAX_DETAIL = 100, 500
"""The most lines of ``details``, and the characters of one."""

_REFUSAL = msgspec.json.Decoder(Refusal)


def has_a_reason(answer: Answer) -> bool:
    """Whether a 500 has a reason: then AMS is well and another service, such as Letta, has failed."""
    return answer.status == 500 and bool(_refusal(answer.body).error)


def translate(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal of any call."""
    wait = retry_after_seconds(rejected.headers)
    match rejected.status:
        case 409 | 423 if wait is not None:
            return refusals.locked(Service.AMS, wait)
        case 409:
            message = "The idempotencyKey was already used with different input. Use a new key."
            return Conflict(message, reason=Reason.KEY_REUSED, service=Service.AMS)
        case 408:
            message = "AMS did not complete the call in time."
            return UpstreamTimeout(message, reason=Reason.TOTAL, service=Service.AMS, retry_after_seconds=wait)
        case 500:
            message = "AMS failed with status 500."
            return UpstreamError(message, reason=Reason.STATUS, service=Service.AMS, retry_after_seconds=wait)
        case _:
            return refusals.translate(Service.AMS, rejected)


def of_profile(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal of ``GET /me``. AMS answers it for every user, so a 404 does not come from AMS."""
    return refusals.unexpected(Service.AMS, rejected) if rejected.status == 404 else translate(rejected)


def of_creating(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal to create an agent."""
    problems = _details(rejected)
    if rejected.status == 404:
        return NotFound("The template, or its version, does not exist.", service=Service.AMS)
    if rejected.status == 400 and problems:
        message = "The variables do not fit the template: see `problems`."
        return Invalid(message, problems, reason=Reason.VARIABLES_INVALID)
    return translate(rejected)


def of_upgrading(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal to upgrade an agent, or to plan it. The request is valid and the agent the user's."""
    if rejected.status == 404:
        return NotFound("The version of the agent's template does not exist.", service=Service.AMS)
    if rejected.status == 400:
        message = "No migrations lead from the agent's version to this version."
        return Conflict(message, reason=Reason.NO_MIGRATION_PATH, service=Service.AMS)
    return translate(rejected)


def of_publishing(rejected: UpstreamRejected, *, key_is_new: bool) -> GatewayError:
    """The error for a refusal to publish. A 409 has two meanings; a key that the gateway made has not been used."""
    if rejected.status == 404:
        return NotFound("The template does not exist.", service=Service.AMS)
    is_of_version = key_is_new or "idempotency" not in _refusal(rejected.body).error.lower()
    if rejected.status == 409 and is_of_version and retry_after_seconds(rejected.headers) is None:
        message = "This version of the template has been published. Raise the version."
        return Conflict(message, reason=Reason.VERSION_EXISTS, service=Service.AMS)
    if rejected.status == 400:
        problems = _details(rejected) or ["template.version is not above the template's latest version"]
        return Invalid("The Agent File cannot be published: see `problems`.", problems, reason=Reason.TEMPLATE_INVALID)
    return translate(rejected)


def _details(rejected: UpstreamRejected) -> list[str]:
    return shortened(_refusal(rejected.body).details)


def shortened(lines: list[str]) -> list[str]:
    """Limit the number of lines and their lengths."""
    return [line if len(line) <= MAX_DETAIL else f"{line[: MAX_DETAIL - 1]}…" for line in lines[:MAX_DETAILS]]


def _refusal(body: bytes) -> Refusal:
    """Decode the body of a refusal; one of another form is empty."""
    try:
        return _REFUSAL.decode(body)
    except UNREADABLE:
        return Refusal()
