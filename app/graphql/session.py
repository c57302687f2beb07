"""Serves a WebSocket with the graphql-transport-ws protocol.

Each operation runs in its own task with its own context. uvicorn sends pings of the WebSocket protocol
(``ws_ping_interval``). The session answers pings of the graphql-transport-ws protocol.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, suppress
from functools import partial
from typing import Any

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from app.asgi import Disconnected, header, traceparent_of
from app.departure import Departure
from app.drain import Stage, interruption, refusal
from app.gateway import Gateway
from app.graphql.errors import INTERNAL_MESSAGE, RequestError
from app.graphql.http import parse_request
from app.graphql.results import Refused, Result
from app.graphql.subprotocol import Close, Closed, authorization_of, encoded, id_of, message_of, payload_of
from app.identity import Identity, address_of, sender_of
from app.shares import RETRY_SECONDS, Holding
from app.signin.errors import token_expired
from app.slots import Slot
from app.sockets import Sockets
from app.wire import EXTENSION, Frames
from clients.codes import Reason
from clients.errors import Forbidden, GatewayError, Overloaded, RateLimited, Unauthenticated
from clients.origin import Endpoint, Origin, Owner
from resolvers.limits import LimitKind
from resolvers.principal import Principal
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave

MAX_OPERATIONS = 100
"""Maximum number of concurrent operations of one socket."""

SMALL_CHARS = 128 * 1024
"""Maximum length of a small result, in characters. Larger unread results count against the user's limit."""

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
        self._send = send
        self._grace = grace
        self._init_seconds = init_seconds
        self._principal: Principal | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._over: asyncio.Future[Closed | None] = asyncio.get_running_loop().create_future()
        self._expiry: asyncio.TimerHandle | None = None
        self._expired = False
        self._leave = Leave()
        self._held = ExitStack()
        self._held.callback(sockets.anonymous.join(address_of(scope), self._make_room))

    async def run(self) -> None:
        """Serve the socket until the socket closes, and then cancel every operation."""
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(self._reader_ended)
        try:
            with Departure(self._gateway.drain, self._leave, partial(len, self._operations), self._detached):
                closed = await self._over
            if closed is not None:
                with suppress(Disconnected):
                    await self._close(closed)
        finally:
            self._held.close()
            if self._expiry is not None:
                self._expiry.cancel()
            tasks = [reader, *self._operations.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _reader_ended(self, reader: asyncio.Task[Closed | None]) -> None:
        if not self._over.done() and not reader.cancelled():
            self._over.set_result(reader.result())

    async def _close(self, closed: Closed) -> None:
        """Close the socket.

        If the process is stopping, running operations receive an error first. Then a ping contains the reason, because
        few clients show a close frame's reason.
        """
        if closed.code is Close.GOING_AWAY:
            for operation_id, task in list(self._operations.items()):
                task.cancel()
                await asyncio.wait([task])
                await self._fail(operation_id, interruption())
            await self._send_message({"type": "ping", "payload": {"reason": Reason.DRAINING}})
        await self._send({"type": "websocket.close", "code": int(closed.code), "reason": closed.reason})

    def _make_room(self) -> None:
        """Close this socket before sign-in, so that a newer socket gets a slot."""
        if not self._over.done():
            self._over.set_result(
                Closed(Close.INIT_TIMEOUT, "Closed before connection_init, because too many connections wait. Retry.")
            )

    def _detached(self, stage: Stage) -> None:
        """If the process is stopping, close the socket after its last operation or at the end of the grace period."""
        if stage is Stage.CUTTING or not self._operations:
            self._go_away()

    def _go_away(self) -> None:
        if not self._over.done():
            self._over.set_result(Closed(Close.GOING_AWAY, Reason.DRAINING))

    async def _read(self) -> Closed | None:
        try:
            async with asyncio.timeout(self._init_seconds) as init:
                while (text := await self._next()) is not None:
                    await self._gateway.pace(text)
                    await self._handle(message_of(text), len(text))
                    del text  # the message can be large, and the next message can take hours
                    if self._principal is not None:
                        init.reschedule(None)
        except TimeoutError:
            return Closed(Close.INIT_TIMEOUT, "Connection initialisation timeout")
        except Closed as closed:
            self._gateway.telemetry.audit.refused(closed.__cause__, sender_of(self._scope))
            return closed
        except Disconnected:
            return None
        except Exception:  # the client must receive a close code
            self._gateway.telemetry.log.exception("internal error", request_id=self._request_id)
            return Closed(Close.INTERNAL, INTERNAL_MESSAGE)
        return None

    async def _next(self) -> str | bytes | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | bytes | None = message.get("text")
        return text if text is not None else message.get("bytes", b"")

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
                if task := self._operations.pop(id_of(message), None):
                    task.cancel()
            case _:
                raise Closed(Close.INVALID_MESSAGE, "graphql-transport-ws does not define the message's `type`.")

    async def _pong(self, payload: dict[str, Any]) -> None:
        try:
            await self._send_message({"type": "pong", **payload})
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
        self._expiry = asyncio.get_running_loop().call_later(seconds, self._expire)
        await self._send_message({"type": "connection_ack"})

    def _admit(self, principal: Principal) -> None:
        """After sign-in, take one of the user's slots instead of the anonymous slot. Raise Closed if none is free."""
        try:
            self._sockets.slots.take(principal.user_id)
        except RateLimited as error:
            raise Closed(Close.TOO_MANY, error.message) from error
        except Overloaded as error:
            raise Closed(Close.TRY_AGAIN_LATER, error.message) from error
        self._held.close()
        self._held.callback(self._sockets.slots.give, principal.user_id)
        revoked = partial(self._sign_out, Reason.TOKEN_REVOKED)
        self._held.enter_context(self._gateway.resources.sessions.watched(principal, revoked))
        self._principal = principal
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
        self._leave.now(DetachReason.SIGNED_OUT)
        self._expiry = asyncio.get_running_loop().call_later(DETACH_SECONDS, self._sign_out)

    def _sign_out(self, reason: Reason = Reason.TOKEN_EXPIRED) -> None:
        if not self._over.done():
            self._over.set_result(Closed(Close.FORBIDDEN, reason))

    async def _subscribe(self, operation_id: str, payload: object, size: int) -> None:
        if self._principal is None:
            raise Closed(Close.UNAUTHORIZED, "Unauthorized")
        if operation_id in self._operations:
            raise Closed(Close.DUPLICATE, f"Subscriber for {ascii(operation_id)[1:-1][:80]} already exists")
        if not isinstance(payload, dict):
            raise Closed(Close.INVALID_MESSAGE, "The `payload` of the subscribe message must be a JSON object.")
        # refusals are sent here, not in a task, so that reading stops if the client does not read refusals
        if not self._gateway.drain.is_open:
            await self._fail(operation_id, refusal())
        elif self._expired:
            await self._fail(operation_id, token_expired())
        elif len(self._operations) >= MAX_OPERATIONS:
            message = f"The WebSocket already runs {MAX_OPERATIONS} operations. Complete an operation first."
            await self._fail(
                operation_id, RateLimited(message, reason=Reason.OPERATIONS, retry_after_seconds=RETRY_SECONDS)
            )
        elif (slot := await self._slot(operation_id, self._principal, size)) is not None:
            task = asyncio.create_task(self._operate(operation_id, self._principal, payload, slot))
            self._operations[operation_id] = task
            task.add_done_callback(partial(self._done, operation_id, slot))

    async def _slot(self, operation_id: str, principal: Principal, size: int) -> Slot | None:
        slot = None
        try:
            versions = await self._gateway.resources.limits.count(principal.user_id, LimitKind.GENERAL, tags=True)
            slot = self._gateway.slots.take(Owner(principal.user_id), versions)
            slot.hold_body(size)
        except (RateLimited, Overloaded) as error:
            if slot is not None:
                slot.leave()
            await self._fail(operation_id, error)
            return None
        return slot

    def _done(self, operation_id: str, slot: Slot, task: asyncio.Task[None]) -> None:
        slot.leave()
        if not task.cancelled():
            task.exception()  # asyncio logs an unretrieved exception, such as a disconnect during a refusal
        if self._operations.get(operation_id) is task:
            del self._operations[operation_id]
        self._leave.changed()
        if self._operations:
            return
        if self._expired:
            self._sign_out()
        elif not self._gateway.drain.is_open:
            self._go_away()

    async def _operate(self, operation_id: str, principal: Principal, payload: dict[str, Any], slot: Slot) -> None:
        try:
            await slot.enter()
            with self._gateway.drain.request():
                await self._relay(operation_id, principal, payload, slot)
        except Disconnected:
            return
        except (GatewayError, RequestError) as error:
            await self._fail(operation_id, error)
        except Exception:  # the client must not wait forever
            self._gateway.telemetry.log.exception("internal error", request_id=self._request_id)
            await self._fail(operation_id, GatewayError(INTERNAL_MESSAGE))

    async def _relay(self, operation_id: str, principal: Principal, payload: dict[str, Any], slot: Slot) -> None:
        request = parse_request(payload)
        operation = self._gateway.engine.documents.operation(request.query, request.operation_name)
        context = self._gateway.context(
            principal, self._request_id, traceparent_of(self._scope), self._leave, endpoint=Endpoint.WEBSOCKET
        )
        context.on_long, slot.calls, context.versions = slot.lengthen, context.calls, slot.versions
        results = self._gateway.engine.results(operation, request.variables, context, report_cost=request.report_cost)
        del request, context  # a subscription may run for hours
        if operation.kind is OperationType.SUBSCRIPTION:
            slot.lengthen()
            with self._gateway.drain.stream():
                await self._send_results(operation_id, results, slot)
        else:
            await self._send_results(operation_id, results, slot)

    async def _send_results(self, operation_id: str, results: AsyncGenerator[Result, None], slot: Slot) -> None:
        begun = False
        async with aclosing(results):
            async for result in results:
                if not begun and isinstance(result, Refused):
                    await self._send_message({"id": operation_id, "type": "error", "payload": result.errors})
                    return
                begun = True
                text = encoded({"id": operation_id, "type": "next", "payload": result.body()})
                slot.size += len(text)
                del result  # only the encoded text stays in memory until the client reads it
                await self._put_result(text)
        await self._send_message({"id": operation_id, "type": "complete"})

    async def _fail(self, operation_id: str, error: GatewayError | RequestError) -> None:
        self._gateway.telemetry.audit.refused(error, sender_of(self._scope))
        errors = Refused.by(error, self._request_id).errors
        await self._send_message({"id": operation_id, "type": "error", "payload": errors})

    async def _put_result(self, text: str) -> None:
        """Send a result. Until a large result is sent, the result counts against the user's limit."""
        if len(text) <= SMALL_CHARS or self._principal is None:
            await self._send_text(text)
            return
        with self._sockets.unread(self._principal.user_id, len(text)):
            await self._send_text(text)

    async def _send_message(self, message: dict[str, Any]) -> None:
        await self._send_text(encoded(message))

    async def _send_text(self, text: str) -> None:
        try:
            await self._send({"type": "websocket.send", "text": text})
        except OSError as error:
            raise Disconnected from error
