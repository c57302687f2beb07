"""Writes the last event of a stream that failed, in the format of each of OpenAI's APIs."""

from __future__ import annotations

import re
import time
from typing import Any, Protocol

import orjson

from app.rest.envelope import envelope, error_event
from clients.errors import GatewayError
from resolvers.streams.events import Entry

_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d+)')
_CREATED = b"event: response.created\ndata: "


class StreamEnd(Protocol):
    """Writes the last event of a stream that failed."""

    def sent(self, batch: list[Entry]) -> None:
        """Record events that the client has received."""

    def failure(self, error: GatewayError) -> bytes:
        """Return the event for an error."""


class ChatEnd:
    """Writes the error event that replaces ``[DONE]``."""

    def sent(self, batch: list[Entry]) -> None:
        """Record events that the client has received."""

    def failure(self, error: GatewayError) -> bytes:
        """Return the event for an error."""
        return error_event(error)


def response_error(error: GatewayError) -> dict[str, Any]:
    """Return the field ``error`` of a failed response."""
    described = envelope(error)["error"]
    names = ("code", "message", "param", "retry_after_seconds")
    return {name: described[name] for name in names if described.get(name) is not None}


class ResponseEnd:
    """Writes ``response.failed``, with the id of ``response.created``, and with the next sequence number."""

    def __init__(self, model: str) -> None:
        self._created: dict[str, Any] | None = None
        self._last = b""
        self._model = model

    def sent(self, batch: list[Entry]) -> None:
        """Record events that the client has received."""
        for entry in batch:
            if entry.raw:
                self._last = entry.raw
                if self._created is None and entry.raw.startswith(_CREATED):
                    self._created = _response_of(entry.raw)

    def failure(self, error: GatewayError) -> bytes:
        """Return the event for an error."""
        skeleton = {"id": "", "object": "response", "created_at": int(time.time()), "model": self._model}
        fixed = {"output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
        response = {**skeleton, **(self._created or {}), **fixed, "status": "failed", "error": response_error(error)}
        numbers = _SEQUENCE.findall(self._last)
        event = {
            "type": "response.failed",
            "response": response,
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
        }
        return b"event: response.failed\ndata: " + orjson.dumps(event) + b"\n\n"


def _response_of(event: bytes) -> dict[str, Any]:
    """Return the fields of the event ``response.created`` that identify the response."""
    try:
        response = orjson.loads(event[len(_CREATED) :]).get("response")
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(response, dict):
        return {}
    return {name: response[name] for name in ("id", "object", "created_at", "model") if name in response}
