"""Translates Letta's error frames and stop reasons into errors of the graph."""

from __future__ import annotations

from clients.errors import ErrorCode
from clients.letta.frames import ErrorFrame
from clients.letta.wire import APPROVAL_PENDING
from resolvers.streams.events import StreamFailure

_TOO_LONG = StreamFailure(
    code=ErrorCode.BAD_USER_INPUT,
    message="The messages are longer than the model's context.",
    reason="CONTEXT_LENGTH",
)
_UNPAID = StreamFailure(code=ErrorCode.BUDGET_EXCEEDED, message="The budget is spent.")
_MODEL = StreamFailure(code=ErrorCode.UPSTREAM_ERROR, message="The model call failed.", reason="MODEL")
_BY_STOP = {
    "error": _MODEL,
    "llm_api_error": _MODEL,
    "insufficient_credits": _UNPAID,
    "context_window_overflow_in_system_prompt": _TOO_LONG,
}
_WORDS = {
    "max_steps": "The turn took as many steps as it may, and ended before the agent had finished.",
    "max_tokens_exceeded": "The model's limit of tokens was passed before the agent had finished.",
    "no_tool_call": "The model called no tool where it had to.",
    "invalid_tool_call": "The model called a tool wrongly.",
    "invalid_llm_response": "The model's answer could not be read.",
}


def failure_of(stop: str, failed: ErrorFrame | None) -> StreamFailure:
    """Return the error of a turn that failed.

    Args:
        stop: Letta's stop reason, one that is a failure (see ``clients.letta.stops``).
        failed: Letta's error frame, which has more detail than the stop reason.
    """
    if failed is not None and (known := _by_frame(failed)) is not None:
        return known
    if (known := _BY_STOP.get(stop)) is not None:
        return known
    if failed is not None:
        return _MODEL
    message = _WORDS.get(stop, "The turn stopped for a reason that this gateway does not know.")
    reason = stop.upper() if stop in _WORDS else "STOP_REASON"
    return StreamFailure(code=ErrorCode.UPSTREAM_ERROR, message=message, reason=reason)


def _by_frame(failed: ErrorFrame) -> StreamFailure | None:
    if failed.waits_for_approval:
        return StreamFailure(code=ErrorCode.CONFLICT, message=APPROVAL_PENDING, reason="APPROVAL_PENDING")
    if failed.lost_image:
        return StreamFailure(code=ErrorCode.BAD_USER_INPUT, message="An image could not be fetched.", reason="IMAGE")
    if failed.unpaid:
        return _UNPAID
    if failed.too_long:
        return _TOO_LONG
    if failed.error_type == "llm_rate_limit":
        message = "The model's rate limit is reached."
        return StreamFailure(code=ErrorCode.RATE_LIMITED, message=message, reason="MODEL_RATE_LIMIT", retryable=True)
    if failed.error_type == "llm_timeout":
        message = "The model did not answer in time."
        return StreamFailure(code=ErrorCode.UPSTREAM_TIMEOUT, message=message, reason="TOTAL", retryable=True)
    return None
