"""Serves ``/graphql`` over WebSocket, with the graphql-transport-ws protocol."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from app.asgi import retry_after
from app.drain import refusal
from app.gateway import Gateway
from app.graphql.session import Session
from app.graphql.subprotocol import PROTOCOL, Close
from app.sockets import Sockets
from clients.errors import GatewayError


class GraphQLWebSocket:
    """An ASGI application that serves ``/graphql`` over WebSocket.

    Args:
        grace: how long streams continue after their socket's token has expired, in seconds.
        init_seconds: the timeout of ``connection_init``.
    """

    def __init__(self, gateway: Gateway, sockets: Sockets, *, grace: float, init_seconds: float) -> None:
        self._gateway = gateway
        self._sockets = sockets
        self._grace = grace
        self._init_seconds = init_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket. Refuse the socket if the process is stopping or no slot is free."""
        await receive()
        if not self._gateway.drain.is_open:
            await _refuse(send, refusal())
            return
        if self._sockets.slots.taken >= self._sockets.slots.total:
            await _refuse(send, self._sockets.full())
            return
        if PROTOCOL not in scope.get("subprotocols", []):
            # a browser shows the close code only if the server has accepted an offered protocol
            offered = scope.get("subprotocols") or [None]
            await send({"type": "websocket.accept", "subprotocol": offered[0]})
            reason = f"Use the WebSocket subprotocol {PROTOCOL} (npm package graphql-ws)."
            await send({"type": "websocket.close", "code": int(Close.SUBPROTOCOL), "reason": reason})
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        session = Session(self._gateway, self._sockets, scope, receive, send, self._grace, self._init_seconds)
        with self._gateway.drain.socket():
            await session.run()


async def _refuse(send: Send, error: GatewayError) -> None:
    headers = {"content-type": "text/plain; charset=utf-8", **retry_after(error.retry_after_seconds)}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": error.http_status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": f"{error.message}\n".encode()})
