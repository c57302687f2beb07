"""The errors for refusals by AMS.

AMS's own text is not passed on, since it can mention other users' objects. Only the ``details`` of a failed validation
are: they mention nothing but the input.
"""

from __future__ import annotations

import msgspec

from clients.ams.records import Refusal
from clients.calls import Answer, UpstreamRejected
from clients.codes import Reason
from clients.decode import UNREADABLE
from clients.errors import (
    BadUserInput,
    Conflict,
    GatewayError,
    Invalid,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Service,
    UpstreamError,
    UpstreamTimeout,
)
from clients.retry_after import retry_after_seconds

MAX_DETAILS = 100
MAX_DETAIL = 500
"""Characters."""

_REFUSAL = msgspec.json.Decoder(Refusal)


def has_a_reason(answer: Answer) -> bool:
    """Whether a 500 has a reason: then AMS is well and another service, such as Letta, has failed."""
    return answer.status == 500 and bool(_refusal(answer.body).error)


def translate(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal of any call."""
    wait = retry_after_seconds(rejected.headers)
    match rejected.status:
        case 404:
            return NotFound("AMS has no such object.", service=Service.AMS)
        case 400 | 422:
            return BadUserInput("AMS refused the request as not valid.", service=Service.AMS)
        case 401 | 403:
            return UpstreamError(
                "AMS refused the gateway's credential.", reason=Reason.CREDENTIAL, service=Service.AMS, can_retry=False
            )
        case 409 | 423 if wait is not None:
            return Conflict(
                "AMS has locked an object that the request needs. Retry.",
                reason=Reason.LOCKED,
                service=Service.AMS,
                retry_after_seconds=wait,
                can_retry=True,
            )
        case 409:
            return _key_reused()
        case 408:
            return UpstreamTimeout(
                "AMS did not complete the call in time.",
                reason=Reason.TOTAL,
                service=Service.AMS,
                retry_after_seconds=wait,
            )
        case 413:
            return PayloadTooLarge("The request is too large for AMS. Send less.", service=Service.AMS)
        case 429:
            return RateLimited(
                "The rate limit of AMS is reached. Retry later.", service=Service.AMS, retry_after_seconds=wait
            )
        case 500:
            return UpstreamError(
                "AMS failed with status 500.", reason=Reason.STATUS, service=Service.AMS, retry_after_seconds=wait
            )
        case _:
            return _unexpected(rejected)


def of_profile(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal of ``GET /me``. AMS answers it for every user, so a 404 does not come from AMS."""
    return _unexpected(rejected) if rejected.status == 404 else translate(rejected)


def _unexpected(rejected: UpstreamRejected) -> UpstreamError:
    wait = retry_after_seconds(rejected.headers)
    return UpstreamError(
        f"AMS answered with the unexpected status {rejected.status}.",
        reason=Reason.STATUS,
        service=Service.AMS,
        can_retry=wait is not None,
        unconfirmed=False,
        retry_after_seconds=wait,
    )


def of_creating(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal to create an agent."""
    problems = _details(rejected)
    if rejected.status == 404:
        return NotFound("The template, or its version, does not exist.", service=Service.AMS)
    if rejected.status == 400 and problems:
        return Invalid(
            "The variables do not fit the template: see `problems`.", problems, reason=Reason.VARIABLES_INVALID
        )
    return translate(rejected)


def of_upgrading(rejected: UpstreamRejected) -> GatewayError:
    """The error for a refusal to upgrade an agent, or to plan it. The request is valid and the agent the user's."""
    if rejected.status == 404:
        return NotFound("The version of the agent's template does not exist.", service=Service.AMS)
    if rejected.status == 400:
        return Conflict(
            "No migrations lead from the agent's version to this version.",
            reason=Reason.NO_MIGRATION_PATH,
            service=Service.AMS,
        )
    return translate(rejected)


def of_publishing(rejected: UpstreamRejected, *, key_is_new: bool) -> GatewayError:
    """The error for a refusal to publish. A 409 has two meanings; a key that the gateway made has not been used."""
    if rejected.status == 404:
        return NotFound("The template does not exist.", service=Service.AMS)
    waits = retry_after_seconds(rejected.headers) is not None
    if (
        rejected.status == 409
        and not waits
        and (key_is_new or "idempotency" not in _refusal(rejected.body).error.lower())
    ):
        return Conflict(
            "This version of the template has been published. Raise the version.",
            reason=Reason.VERSION_EXISTS,
            service=Service.AMS,
        )
    if rejected.status == 400:
        problems = _details(rejected) or ["template.version is not above the template's latest version"]
        return Invalid("The Agent File cannot be published: see `problems`.", problems, reason=Reason.TEMPLATE_INVALID)
    return translate(rejected)


def _key_reused() -> Conflict:
    return Conflict(
        "The idempotencyKey was used with other input. Use a new key.", reason=Reason.KEY_REUSED, service=Service.AMS
    )


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
