"""Sends the messages of one WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.types import Scope, Send

from app.asgi import Disconnected
from app.connections.socket import PUT


class SocketSender:
    """Sends messages to one WebSocket's client. Each method raises Disconnected if the client has disconnected.

    Messages do not pass the ASGI middleware if the server has the extension ``PUT``.
    """

    __slots__ = ("_put", "_send")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        # removed from the scope, since the scope would be part of a reference cycle
        self._put: Callable[[bytes], Awaitable[None]] = scope.get("extensions", {}).pop(PUT, self._put_message)

    async def message(self, message: dict[str, Any]) -> None:
        """Send a message. Raise orjson.JSONEncodeError if the message is nested too deeply."""
        await self.text(orjson.dumps(message))

    async def text(self, text: bytes) -> None:
        """Send a message that is encoded as JSON."""
        try:
            await self._put(text)
        except OSError as error:
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        """Close the WebSocket."""
        await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _put_message(self, text: bytes) -> None:
        await self._send({"type": "websocket.send", "text": text.decode()})
