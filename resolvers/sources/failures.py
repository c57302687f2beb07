"""Translates Letta's error frames and stop reasons into GraphQL errors."""

from clients.codes import ErrorCode, Reason
from clients.letta.frames import ErrorFrame
from clients.letta.refusals import APPROVAL_PENDING
from resolvers.streams.events import StreamFailure

_TOO_LONG = StreamFailure(
    code=ErrorCode.BAD_USER_INPUT,
    message="The messages are longer than the model's context. Shorten the messages.",
    reason=Reason.CONTEXT_LENGTH,
)
_UNPAID = StreamFailure(
    code=ErrorCode.BUDGET_EXCEEDED,
    message="Your budget for model calls is exhausted. Ask the operator for a larger budget.",
)
_MODEL = StreamFailure(
    code=ErrorCode.UPSTREAM_ERROR, message="The model call failed. Retry the request.", reason=Reason.MODEL
)
_BY_STOP = {
    "error": _MODEL,
    "llm_api_error": _MODEL,
    "insufficient_credits": _UNPAID,
    "context_window_overflow_in_system_prompt": _TOO_LONG,
}
_REASONS = {
    "max_steps": (Reason.MAX_STEPS, "The turn reached its maximum number of steps. Send another message to continue."),
    "max_tokens_exceeded": (
        Reason.MAX_TOKENS_EXCEEDED,
        "The agent exceeded the model's token limit before the turn had ended. Send a shorter message.",
    ),
    "no_tool_call": (Reason.NO_TOOL_CALL, "The model did not make a required tool call. Send the message again."),
    "invalid_tool_call": (Reason.INVALID_TOOL_CALL, "The model made an invalid tool call. Send the message again."),
    "invalid_llm_response": (
        Reason.INVALID_LLM_RESPONSE,
        "Letta could not read the model's answer. Send the message again.",
    ),
}
_UNKNOWN_STOP = Reason.STOP_REASON, "Letta stopped the turn for a reason that the gateway does not know."


def failure_of(stop: str, failed: ErrorFrame | None) -> StreamFailure:
    """Return a failed turn's error, from Letta's error frame or else from the stop reason."""
    if failed is not None and (known := _by_frame(failed)) is not None:
        return known
    if (known := _BY_STOP.get(stop)) is not None:
        return known
    if failed is not None:
        return _MODEL
    reason, message = _REASONS.get(stop, _UNKNOWN_STOP)
    return StreamFailure(code=ErrorCode.UPSTREAM_ERROR, message=message, reason=reason)


def _by_frame(failed: ErrorFrame) -> StreamFailure | None:
    if failed.waits_for_approval:
        return StreamFailure(code=ErrorCode.CONFLICT, message=APPROVAL_PENDING, reason=Reason.APPROVAL_PENDING)
    if failed.lost_image:
        return StreamFailure(
            code=ErrorCode.BAD_USER_INPUT,
            message="Letta cannot fetch an image from its URL. Check the URL.",
            reason=Reason.IMAGE,
        )
    if failed.unpaid:
        return _UNPAID
    if failed.too_long:
        return _TOO_LONG
    if failed.error_type == "llm_rate_limit":
        message = "The model's rate limit is exceeded. Retry later."
        return StreamFailure(
            code=ErrorCode.RATE_LIMITED, message=message, reason=Reason.MODEL_RATE_LIMIT, retryable=True
        )
    if failed.error_type == "llm_timeout":
        message = "The model did not answer in time. Retry the request."
        return StreamFailure(code=ErrorCode.UPSTREAM_TIMEOUT, message=message, reason=Reason.TOTAL, retryable=True)
    return None
