"""Letta's messages for failed turns."""

from __future__ import annotations

import orjson

KINDS = {"401": "llm_authentication", "429": "llm_rate_limit", "cut": "internal_error", "ctx": "internal_error"}
STOPS = {"cut": ("error", "llm_api_error"), "ctx": ("error",)}
"""Letta's stop reasons for each kind of failure. For other failures, the only stop reason is ``llm_api_error``."""
WORDS = {
    "llm_rate_limit": "Rate limit exceeded for LLM model provider. Please wait before making another request.",
    "llm_authentication": "Authentication failed with the LLM model provider.",
    "llm_error": "An error occurred with the LLM request.",
    "internal_error": "An error occurred during agent execution.",
}
UNKNOWN = "An unknown error occurred with the LLM streaming request."
DETAIL = "INTERNAL_SERVER_ERROR: the embedded model failed"
DETAILS = {
    "402": "PAYMENT_REQUIRED: Insufficient credits: the embedded model failed",
    "ctx": "CONTEXT_WINDOW_EXCEEDED: Bad request to OpenAI (context window exceeded): the embedded model failed",
}
"""The error details for certain kinds of failures. In each detail, the word before the colon identifies the cause."""


def error_frame(run_id: str, kind: str, detail: str, message: str | None = None, seq_id: int | None = None) -> str:
    """Make the event that reports a failed turn."""
    error = {
        "message_type": "error_message",
        "run_id": run_id,
        "error_type": kind,
        "message": message or WORDS[kind],
        "detail": detail,
        "seq_id": seq_id,
    }
    return f"event: error\ndata: {orjson.dumps(error).decode()}\n\n"
