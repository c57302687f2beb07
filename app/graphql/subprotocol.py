"""The messages and close codes of the graphql-transport-ws protocol."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from app.json_text import MAX_CONTAINERS, InvalidJson, TooManyContainers, loads

PROTOCOL = "graphql-transport-ws"
MAX_ID_CHARS = 256
MAX_REASON_CHARS = 123
"""Maximum number of bytes in a close frame's reason (RFC 6455, 5.5.1). All reasons are ASCII."""


class Close(IntEnum):
    """The gateway's WebSocket close codes. graphql-transport-ws, RFC 6455 and the IANA registry define the codes."""

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
    """The error that makes the gateway close the WebSocket. The close frame contains ``code`` and ``reason``."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason[:MAX_REASON_CHARS]


def message_of(text: str | bytes) -> dict[str, Any]:
    """Parse a WebSocket message from a client. Raise Closed if the message is invalid or has no ``type``."""
    try:
        message = loads(text)
    except InvalidJson as error:
        raise Closed(Close.INVALID_MESSAGE, f"The message is not valid JSON: {error}.") from error
    except TooManyContainers as error:
        reason = f"The message has more than {MAX_CONTAINERS:,} objects and arrays. Reduce their number."
        raise Closed(Close.TOO_BIG, reason) from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Closed(Close.INVALID_MESSAGE, "The message must be a JSON object with a string field `type`.")
    return message


def id_of(message: dict[str, Any]) -> str:
    """Return the operation id in a message. Raise Closed if the id is missing or invalid."""
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID_CHARS:
        raise Closed(Close.INVALID_MESSAGE, f"The message's `id` must be a string of 1 to {MAX_ID_CHARS} characters.")
    return operation_id


def payload_of(message: dict[str, Any]) -> dict[str, Any]:
    """Return a dict with the message's ``payload``, or an empty dict if the message has none."""
    return {"payload": message["payload"]} if "payload" in message else {}


def authorization_of(payload: object, header: str | None) -> str | None:
    """Return the ``authorization`` from a ``connection_init`` message's payload, or else ``header``.

    Raises:
        Closed: the payload is not an object.
    """
    if payload is not None and not isinstance(payload, dict):
        raise Closed(Close.INVALID_MESSAGE, "The `payload` of the connection_init message must be a JSON object.")
    parameters = {str(name).lower(): value for name, value in (payload or {}).items()}
    authorization = parameters.get("authorization", header)
    return authorization if isinstance(authorization, str) else None
