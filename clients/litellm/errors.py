"""What a refusal by LiteLLM means to the caller."""

from __future__ import annotations

import re

import msgspec

from clients.calls import UpstreamRejected
from clients.decode import UNREADABLE, undecodable
from clients.errors import (
    BadUserInput,
    BudgetExceeded,
    Forbidden,
    GatewayError,
    NotFound,
    RateLimited,
    Service,
    UpstreamError,
    UpstreamTimeout,
)


class _WireError(msgspec.Struct):
    message: str | None = None
    type: str | None = None


class _WireRefusal(msgspec.Struct):
    error: _WireError = msgspec.field(default_factory=_WireError)


_REFUSAL = msgspec.json.Decoder(_WireRefusal)
_UNKNOWN_MODEL = re.compile(r"Invalid model name passed in model=")
_CONTEXT_LENGTH = re.compile(r"maximum context length|context_length_exceeded|ContextWindowExceeded", re.IGNORECASE)


def translated(rejected: UpstreamRejected) -> GatewayError:
    """What a refusal by LiteLLM means to the caller.

    The key is the platform's, not the caller's: its refusal is never a 401 to them.
    """
    try:
        wire = _REFUSAL.decode(rejected.body).error
    except UNREADABLE:
        return undecodable(Service.LITELLM)
    match rejected.status:
        case 400 | 404 | 413 | 415 | 422:
            return _bad_request(rejected.status, wire)
        case 403:
            return Forbidden("Your key may not use this model.", reason="MODEL_NOT_ALLOWED", service=Service.LITELLM)
        case 429:
            return RateLimited(
                "The model's rate limit is reached.",
                retry_after_seconds=_retry_after(rejected),
                service=Service.LITELLM,
            )
        case 408:
            return UpstreamTimeout("The model did not answer in time.", reason="TOTAL", service=Service.LITELLM)
        case 401:
            return bad_key()
        case status if status >= 500:
            return UpstreamError("The model failed.", reason="MODEL", service=Service.LITELLM)
        case _:
            return undecodable(Service.LITELLM)


def _bad_request(status: int, wire: _WireError) -> GatewayError:
    """What LiteLLM means by a request that it calls malformed; its types and words tell, its statuses do not."""
    message = wire.message or ""
    if wire.type == "no_db_connection":
        return bad_key()
    if status == 422 and wire.type == "budget_exceeded":
        return BudgetExceeded("The budget is spent.", service=Service.LITELLM)
    if status == 404 or _UNKNOWN_MODEL.search(message):
        return NotFound("The model does not exist.", reason="MODEL_NOT_FOUND", service=Service.LITELLM)
    if _CONTEXT_LENGTH.search(message):
        return BadUserInput(
            "The messages are longer than the model's context.", reason="CONTEXT_LENGTH", service=Service.LITELLM
        )
    return BadUserInput("LiteLLM refused the request: a parameter is missing or wrong.", service=Service.LITELLM)


def bad_key() -> UpstreamError:
    """The key that was to pay is refused: the platform's fault, never the caller's."""
    return UpstreamError("LiteLLM refused the key.", reason="CREDENTIAL", can_retry=False, service=Service.LITELLM)


def _retry_after(rejected: UpstreamRejected) -> float | None:
    """Seconds to wait; an upstream provider's own header counts where LiteLLM sends none."""
    value = rejected.headers.get("retry-after") or rejected.headers.get("llm_provider-retry-after")
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
