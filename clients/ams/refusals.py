"""Converts AMS's refusals to the gateway's errors.

The only text of AMS that clients get is the ``details`` of a failed validation, which quote only the client's input.
"""

import msgspec

from clients import refusals
from clients.ams.records import Refusal
from clients.calls import Answer, UpstreamRejected
from clients.codes import Reason
from clients.decode import UNREADABLE
from clients.errors import Conflict, GatewayError, Invalid, NotFound, Service, UpstreamError, UpstreamTimeout
from clients.retry_after import retry_after_seconds

MAX_DETAILS, MAX_DETAIL = 100, 500
"""The maximum number of lines in ``details``, and of characters in a line."""

_REFUSAL = msgspec.json.Decoder(Refusal)


def has_a_reason(answer: Answer) -> bool:
    """Return whether AMS's answer is a 500 that gives a reason. Such an answer reports that another service failed."""
    return answer.status == 500 and bool(_refusal(answer.body).error)


def translate(rejected: UpstreamRejected) -> GatewayError:
    """Return the error for a call that AMS refused."""
    wait = retry_after_seconds(rejected.headers)
    match rejected.status:
        case 409 | 423 if wait is not None:
            return refusals.locked(Service.AMS, wait)
        case 409:
            message = "The `idempotencyKey` was already used with different input. Use a new key."
            return Conflict(message, reason=Reason.KEY_REUSED, service=Service.AMS)
        case 408:
            message = (
                "AMS did not complete the call in time. Retry the request. If the request has an idempotency key, use "
                "the same key."
            )
            return UpstreamTimeout(message, reason=Reason.TOTAL, service=Service.AMS, retry_after_seconds=wait)
        case 500:
            message = "AMS failed with status 500. Retry later."
            return UpstreamError(message, reason=Reason.STATUS, service=Service.AMS, retry_after_seconds=wait)
        case _:
            return refusals.translate(Service.AMS, rejected)


def of_profile(rejected: UpstreamRejected) -> GatewayError:
    """Return the error for AMS's refusal of ``GET /me``. AMS answers ``/me`` for every user, so a 404 is unexpected."""
    return refusals.unexpected(Service.AMS, rejected) if rejected.status == 404 else translate(rejected)


def of_creating(rejected: UpstreamRejected) -> GatewayError:
    """Return the error for AMS's refusal to create an agent."""
    problems = _details(rejected)
    if rejected.status == 404:
        return NotFound(
            "The template or the requested version does not exist. Check `templateId` and `version`.",
            service=Service.AMS,
        )
    if rejected.status == 400 and problems:
        message = "The variables do not match the template. See `problems`."
        return Invalid(message, problems, reason=Reason.VARIABLES_INVALID)
    return translate(rejected)


def of_upgrading(rejected: UpstreamRejected) -> GatewayError:
    """Return the error for AMS's refusal to upgrade an agent, or to plan an upgrade."""
    if rejected.status == 404:
        message = "The agent's template does not have the requested version. Choose another version."
        return NotFound(message, service=Service.AMS)
    if rejected.status == 400:
        message = (
            "The template has no migrations from the agent's version to the requested version. Choose another version."
        )
        return Conflict(message, reason=Reason.NO_MIGRATION_PATH, service=Service.AMS)
    return translate(rejected)


def of_publishing(rejected: UpstreamRejected, *, key_is_new: bool) -> GatewayError:
    """Return the error for AMS's refusal to publish a template's version.

    A 409 means that the version exists, or that the key was used before. A key that the gateway made is always new.
    """
    if rejected.status == 404:
        return NotFound(
            "The Agent File names a template that does not exist. Check the template's id.", service=Service.AMS
        )
    is_of_version = key_is_new or "idempotency" not in _refusal(rejected.body).error.lower()
    if rejected.status == 409 and is_of_version and retry_after_seconds(rejected.headers) is None:
        message = "This version of the template is already published. Publish the Agent File under a higher version."
        return Conflict(message, reason=Reason.VERSION_EXISTS, service=Service.AMS)
    if rejected.status == 400:
        problems = _details(rejected) or ["template.version is not higher than the template's latest version"]
        return Invalid("The Agent File cannot be published. See `problems`.", problems, reason=Reason.TEMPLATE_INVALID)
    return translate(rejected)


def _details(rejected: UpstreamRejected) -> list[str]:
    return shortened(_refusal(rejected.body).details)


def shortened(lines: list[str]) -> list[str]:
    """Shorten a list of lines to ``MAX_DETAILS`` lines of ``MAX_DETAIL`` characters."""
    return [line if len(line) <= MAX_DETAIL else f"{line[: MAX_DETAIL - 1]}…" for line in lines[:MAX_DETAILS]]


def _refusal(body: bytes) -> Refusal:
    try:
        return _REFUSAL.decode(body)
    except UNREADABLE:
        return Refusal()
