"""Writes the last event of a stream that failed, in the format of each of OpenAI's APIs."""

from __future__ import annotations

import re
import time
from typing import Any

import orjson

from app.rest.envelope import envelope, error_event
from clients.errors import GatewayError

_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_DATA = re.compile(rb"^data: ?(.*)$", re.MULTILINE)


class ChatEnd:
    """Writes the error event that replaces ``[DONE]``."""

    def sent(self, chunk: bytes) -> None:
        """Record bytes that the client has received."""

    def failure(self, error: GatewayError) -> bytes:
        """Return the event for an error."""
        return error_event(error)


class ResponseEnd:
    """Writes ``response.failed``, with the id and the fields that ``response.created`` had."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._first = self._last = b""

    def sent(self, chunk: bytes) -> None:
        """Record bytes that the client has received."""
        self._first = self._first or chunk
        self._last = chunk

    def failure(self, error: GatewayError) -> bytes:
        """Return the event for an error."""
        described = envelope(error)["error"]
        names = ("code", "message", "param", "retry_after_seconds")
        shown = {name: described[name] for name in names if described.get(name) is not None}
        response = {**self._created(), "status": "failed", "error": shown}
        numbers = _SEQUENCE.findall(self._last)
        event = {
            "type": "response.failed",
            "response": response,
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
        }
        return b"event: response.failed\ndata: " + orjson.dumps(event) + b"\n\n"

    def _created(self) -> dict[str, Any]:
        """Return the response object of the first event. Without this event, the response has no id."""
        found = _DATA.search(self._first)
        event = None if found is None else _decoded(found[1])
        response = event.get("response") if isinstance(event, dict) else None
        if isinstance(response, dict):
            return response
        skeleton = {"id": "", "object": "response", "created_at": int(time.time()), "model": self._model}
        return {**skeleton, "output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}


def _decoded(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
