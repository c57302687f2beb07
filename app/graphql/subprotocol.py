"""The messages and close codes of the graphql-transport-ws protocol."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from app.json_text import InvalidJson, TooManyContainers, loads

PROTOCOL = "graphql-transport-ws"
MAX_ID_CHARS = 256
MAX_REASON_CHARS = 123
"""The most of a close frame's reason: 123 bytes (RFC 6455, 5.5.1). The reasons are ASCII."""


class Close(IntEnum):
    """The close codes in use: the protocol's own, and those of RFC 6455 and its registry."""

    GOING_AWAY = 1001
    TOO_BIG = 1009
    TRY_AGAIN_LATER = 1013
    INVALID_MESSAGE = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    DUPLICATE = 4409
    TOO_MANY = 4429
    INTERNAL = 4500


class Closed(Exception):
    """The gateway must close the socket, with a code and a reason."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason[:MAX_REASON_CHARS]


def message_of(text: str | bytes) -> dict[str, Any]:
    """Parse a message, which has a ``type``. Raises Closed."""
    try:
        message = loads(text)
    except InvalidJson as error:
        raise Closed(Close.INVALID_MESSAGE, f"Invalid JSON: {error}") from error
    except TooManyContainers as error:
        raise Closed(Close.TOO_BIG, f"The message {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Closed(Close.INVALID_MESSAGE, "A message is an object with a type")
    return message


def id_of(message: dict[str, Any]) -> str:
    """Return the id of a message's operation. Raises Closed."""
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID_CHARS:
        raise Closed(Close.INVALID_MESSAGE, f"id must be a string of 1 to {MAX_ID_CHARS} characters")
    return operation_id


def payload_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return the ``payload`` member for a reply; ``{}`` if the message has none."""
    return {"payload": message["payload"]} if "payload" in message else {}
