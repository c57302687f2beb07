"""Errors in OpenAI's format.

With this format, OpenAI's SDKs raise the right exception, and retry if a retry can help.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.types import Send

from app.asgi import refusal_headers, respond
from clients.codes import ErrorCode, Reason
from clients.errors import Conflict, GatewayError
from resolvers.streams.events import Ended, StreamOutcome

JSON = "application/json"
_TYPES = {
    ErrorCode.UNAUTHENTICATED: "authentication_error",
    ErrorCode.FORBIDDEN: "permission_error",
    ErrorCode.NOT_FOUND: "invalid_request_error",
    ErrorCode.BAD_USER_INPUT: "invalid_request_error",
    ErrorCode.PAYLOAD_TOO_LARGE: "invalid_request_error",
    ErrorCode.QUERY_TOO_COMPLEX: "invalid_request_error",
    ErrorCode.RATE_LIMITED: "rate_limit_error",
    ErrorCode.BUDGET_EXCEEDED: "insufficient_quota",
}
_CODES: dict[str, str] = {
    Reason.TOKEN_MISSING: "invalid_api_key",
    Reason.TOKEN_INVALID: "invalid_api_key",
    Reason.TOKEN_EXPIRED: "invalid_api_key",
    Reason.TOKEN_REVOKED: "invalid_api_key",
    Reason.RATE_LIMIT_GENERAL: "rate_limit_exceeded",
    Reason.RATE_LIMIT_LLM: "rate_limit_exceeded",
    Reason.RATE_LIMIT_PROXY: "rate_limit_exceeded",
    Reason.RATE_LIMIT_TOKENS: "rate_limit_exceeded",
    Reason.RATE_LIMIT_SIGN_IN: "rate_limit_exceeded",
    Reason.MODEL_RATE_LIMIT: "rate_limit_exceeded",
    ErrorCode.RATE_LIMITED: "rate_limit_exceeded",
    ErrorCode.BAD_USER_INPUT: "request",
    Reason.CONTEXT_LENGTH: "context_length_exceeded",
    Reason.CONTENT_FILTER: "content_filter",
}
"""The ``code`` of reasons, and of error codes without a reason, that have another name than in GraphQL.

The same refusal has one ``code``, whether the gateway or LiteLLM refuses, and whether a stream has begun.
"""
_PATIENCE_SECONDS = 120
"""How long OpenAI's SDKs retry by default, in seconds: twice, each time after at most a minute."""


def envelope(error: GatewayError) -> dict[str, Any]:
    """Convert an error to a response body in OpenAI's format."""
    reason = error.reason or error.code.value
    body: dict[str, Any] = {
        "message": error.message,
        "type": _TYPES.get(error.code, "api_error"),
        "param": "model" if reason.startswith("MODEL_NOT") else error.details.get("param"),
        "code": _CODES.get(reason, reason.lower()),
    }
    if error.retry_after_seconds is not None:
        body["retry_after_seconds"] = error.retry_after_seconds
    return {"error": body}


def failure_of(ended: Ended) -> GatewayError | None:
    """Return the error of a stream that has failed or was cancelled, or ``None`` for a completed stream."""
    if ended.outcome is StreamOutcome.COMPLETED:
        return None
    if ended.error is None:
        return Conflict("The stream was cancelled.", reason=Reason.CANCELLED)
    return ended.error.error()


def error_event(error: GatewayError) -> bytes:
    """Encode the error event that ends a stream."""
    return b"data: " + orjson.dumps(envelope(error)) + b"\n\n"


async def refuse(
    send: Send, error: GatewayError, *, status: int | None = None, headers: dict[str, str] | None = None
) -> None:
    """Send an error response.

    OpenAI's SDKs, which Letta uses too, retry 408, 409, 429 and every 5xx unless ``x-should-retry`` is ``false``. The
    gateway sends ``false`` if no retry can help within ``_PATIENCE_SECONDS``.
    """
    fields = {**refusal_headers(error), **(headers or {})}
    status = status or error.http_status
    can_help = error.retryable and (error.retry_after_seconds or 0) <= _PATIENCE_SECONDS
    if not can_help and (status in {408, 409, 429} or status >= 500):
        fields["x-should-retry"] = "false"
    await respond(send, status, orjson.dumps(envelope(error)), JSON, fields)
