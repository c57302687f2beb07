"""Serves a WebSocket with the graphql-transport-ws protocol.

``SocketOperations`` runs the operations. uvicorn sends pings of the WebSocket protocol
(``ws_ping_interval``). The session answers pings of the graphql-transport-ws protocol.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.asgi import Disconnected, header
from app.connections.frames import EXTENSION, Frames
from app.departure import Departure
from app.drain import Stage, interruption
from app.gateway import Gateway
from app.graphql.errors import INTERNAL_MESSAGE
from app.graphql.socket_operations import SocketOperations
from app.graphql.socket_sender import SocketSender
from app.graphql.subprotocol import Close, Closed, authorization_of, id_of, message_of, payload_of
from app.identity import Identity, address_of, sender_of
from app.shares import Holding
from app.signin.errors import token_expired
from app.sockets import Sockets
from clients.codes import Reason
from clients.errors import Forbidden, GatewayError, Overloaded, RateLimited, Unauthenticated
from clients.origin import Origin, Owner
from resolvers.principal import Principal
from resolvers.sessions import Watch
from resolvers.streams.log import Leave

DETACH_SECONDS = 1.0
"""Streams detach when a token's grace period ends. This many seconds later, the gateway closes the socket."""


class Session:
    """Serves one WebSocket. ``GraphQLWebSocket`` documents the constructor's arguments."""

    def __init__(
        self,
        gateway: Gateway,
        sockets: Sockets,
        scope: Scope,
        receive: Receive,
        send: Send,
        grace: float,
        init_seconds: float,
    ) -> None:
        self._gateway = gateway
        self._sockets = sockets
        self._scope = scope
        self._request_id: str = scope["state"]["request_id"]
        self._receive = receive
        self._sender = SocketSender(scope, send)
        self._grace = grace
        self._principal: Principal | None = None
        self._over: asyncio.Future[Closed | None] = asyncio.get_running_loop().create_future()
        self._expiry = asyncio.get_running_loop().call_later(init_seconds, self._init_late)
        self._expired = False
        self._leave = Leave()
        self._operations = SocketOperations(gateway, sockets, scope, self._sender, self._leave, self._idle)
        # an ``ExitStack`` would use 1 KB for each socket
        self._leave_anonymous: Callable[[], None] | None = sockets.anonymous.join(address_of(scope), self._make_room)
        self._watch: Watch | None = None

    async def run(self) -> None:
        """Serve the socket until the socket closes, and then cancel every operation."""
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(self._reader_ended)
        try:
            with Departure(self._gateway.drain, self._leave, self._operations.__len__, self._detached):
                closed = await self._over
            if closed is not None:
                with suppress(Disconnected):
                    await self._close(closed)
        finally:
            self._release()
            self._expiry.cancel()
            tasks = [reader, *self._operations.tasks()]
            for task in tasks:
                task.cancel()
            self._operations.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _release(self) -> None:
        """Give back the socket's slot, and stop to watch for the revocation of its token."""
        leave, self._leave_anonymous = self._leave_anonymous, None
        if leave is not None:
            leave()
        watch, self._watch = self._watch, None
        if watch is not None and self._principal is not None:
            watch.__exit__()
            self._sockets.slots.give(self._principal.user_id)

    def _reader_ended(self, reader: asyncio.Task[Closed | None]) -> None:
        if not self._over.done() and not reader.cancelled():
            self._over.set_result(reader.result())

    async def _close(self, closed: Closed) -> None:
        """Close the socket.

        If the process is stopping, running operations receive an error first. Then a ping contains the reason, because
        few clients show a close frame's reason.
        """
        if closed.code is Close.GOING_AWAY:
            await self._operations.interrupt(interruption())
            await self._sender.message({"type": "ping", "payload": {"reason": Reason.DRAINING}})
        await self._sender.close(int(closed.code), closed.reason)

    def _end(self, code: Close, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(Closed(code, reason))

    def _make_room(self) -> None:
        """Close this socket before sign-in, so that a newer socket gets a slot."""
        reason = "Closed before connection_init, because too many connections wait. Retry."
        self._end(Close.INIT_TIMEOUT, reason)

    def _init_late(self) -> None:
        self._end(Close.INIT_TIMEOUT, "Connection initialisation timeout")

    def _detached(self, stage: Stage) -> None:
        """If the process is stopping, close the socket after its last operation or at the end of the grace period."""
        if stage is Stage.CUTTING or not self._operations:
            self._go_away()

    def _go_away(self) -> None:
        self._end(Close.GOING_AWAY, Reason.DRAINING)

    async def _read(self) -> Closed | None:
        try:
            while (text := _text_of(await self._receive())) is not None:
                await self._gateway.pace(text)
                await self._handle(message_of(text), len(text))
                del text  # the message can be large, and the next message can take hours
        except Closed as closed:
            self._gateway.telemetry.audit.refused(closed.__cause__, sender_of(self._scope))
            return closed
        except Disconnected:
            return None
        except Exception:  # the client must receive a close code
            self._gateway.telemetry.log.exception("internal error", request_id=self._request_id)
            return Closed(Close.INTERNAL, INTERNAL_MESSAGE)
        return None

    async def _handle(self, message: dict[str, Any], size: int) -> None:
        match message["type"]:
            case "connection_init":
                await self._init(message.get("payload"))
            case "ping":
                await self._pong(payload_of(message))
            case "pong":
                pass
            case "subscribe":
                await self._subscribe(id_of(message), message.get("payload"), size)
            case "complete":
                self._operations.cancel(id_of(message))
            case _:
                raise Closed(Close.INVALID_MESSAGE, "graphql-transport-ws does not define the message's `type`.")

    async def _pong(self, payload: dict[str, Any]) -> None:
        try:
            await self._sender.message({"type": "pong", **payload})
        except orjson.JSONEncodeError as error:  # orjson decodes deeper nesting than it encodes
            raise Closed(
                Close.INVALID_MESSAGE, "The `payload` of the ping message is nested too deeply. Reduce the nesting."
            ) from error

    async def _init(self, payload: object) -> None:
        if self._principal is not None:
            raise Closed(Close.TOO_MANY, "Too many initialisation requests")
        authorization = authorization_of(payload, header(self._scope, b"authorization"))
        try:
            principal = await self._gateway.authenticator.principal(authorization, address_of(self._scope))
        except (Unauthenticated, Forbidden) as error:
            raise Closed(Close.FORBIDDEN, error.reason or "Forbidden") from error
        except GatewayError as error:  # the client reconnects
            raise Closed(Close.TRY_AGAIN_LATER, error.reason or error.code) from error
        if (seconds := principal.expires_at - time.time()) <= 0:  # within the leeway
            raise Closed(Close.FORBIDDEN, Reason.TOKEN_EXPIRED) from token_expired()
        self._admit(principal)
        self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expire)
        await self._sender.message({"type": "connection_ack"})

    def _admit(self, principal: Principal) -> None:
        """After sign-in, take one of the user's slots instead of the anonymous slot. Raise Closed if none is free."""
        try:
            self._sockets.slots.take(principal.user_id)
        except RateLimited as error:
            raise Closed(Close.TOO_MANY, error.message) from error
        except Overloaded as error:
            raise Closed(Close.TRY_AGAIN_LATER, error.message) from error
        self._release()
        self._principal = principal
        self._watch = self._gateway.resources.sessions.watched(principal, self._revoke)
        self._watch.__enter__()
        headers = self._scope["headers"]  # a socket can live for days, and its operations need only one header
        self._scope["headers"] = [one for one in headers if one[0] == b"traceparent"]
        self._scope["state"]["identity"] = Identity(Owner(principal.user_id), principal)
        frames: Frames | None = self._scope.get("extensions", {}).get(EXTENSION)
        if frames is not None:
            meter = self._sockets.meters.of(principal.user_id)
            frames.admit(meter, Holding(self._gateway.slots.pools[Origin.USER].bodies, principal.user_id))

    def _expire(self) -> None:
        """Refuse new operations, because the token has expired. Close the socket when no operation is running."""
        self._expired = True
        if self._operations:
            self._expiry = asyncio.get_running_loop().call_later(self._grace, self._detach)
        else:
            self._sign_out()

    def _detach(self) -> None:
        self._leave.sign_out()
        self._expiry = asyncio.get_running_loop().call_later(DETACH_SECONDS, self._sign_out)

    def _sign_out(self, reason: Reason = Reason.TOKEN_EXPIRED) -> None:
        self._end(Close.FORBIDDEN, reason)

    def _revoke(self) -> None:
        self._sign_out(Reason.TOKEN_REVOKED)

    async def _subscribe(self, operation_id: str, payload: object, size: int) -> None:
        if self._principal is None:
            raise Closed(Close.UNAUTHORIZED, "Unauthorized")
        if operation_id in self._operations:
            raise Closed(Close.DUPLICATE, f"Subscriber for {ascii(operation_id)[1:-1][:80]} already exists")
        if not isinstance(payload, dict):
            raise Closed(Close.INVALID_MESSAGE, "The `payload` of the subscribe message must be a JSON object.")
        error = token_expired() if self._expired else None
        await self._operations.start(operation_id, self._principal, payload, size, error)

    def _idle(self) -> None:
        """Close the socket after its last operation, if its token has expired, or if the process is stopping."""
        if self._expired:
            self._sign_out()
        elif not self._gateway.drain.is_open:
            self._go_away()


def _text_of(message: Message) -> str | bytes | None:
    """Return the text of an ASGI message, or ``None`` if the client has disconnected."""
    if message["type"] == "websocket.disconnect":
        return None
    text: str | bytes | None = message.get("text")
    return text if text is not None else message.get("bytes", b"")
