"""GraphQL over WebSocket: its subprotocol, and sockets before they are signed in and when they close."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

PROTOCOL = Subprotocol("graphql-transport-ws")


def connecting(url: str, subprotocols: Sequence[Subprotocol] | None = (PROTOCOL,)) -> connect:
    """Connect to the gateway at ``url`` without signing in."""
    return connect(url.replace("http", "ws") + "/graphql", subprotocols=subprotocols, proxy=None)


async def close_of(socket: ClientConnection, *, reads: bool = False) -> tuple[int, str]:
    """Return the code and the reason with which the server closes the socket.

    The server must send no message before, unless the test ``reads`` messages.
    """
    with suppress(ConnectionClosed):
        while True:
            message = await socket.recv()
            assert reads, message
    return socket.close_code or 0, socket.close_reason or ""
