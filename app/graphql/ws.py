"""GraphQL over WebSocket: the graphql-transport-ws protocol.

A socket carries many operations; each runs as a task of its own with a context of its own. Pings on the wire, with a
deadline for the pong, are uvicorn's (``ws_ping_interval``); those of the protocol are answered here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from enum import IntEnum
from typing import Any

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from app.asgi import ClientLeft, header, retry_after
from app.doors import Doors
from app.drain import REASON, RETRY_SECONDS, Stage, interruption, refusal
from app.graphql.engine import Payload
from app.graphql.errors import INTERNAL_MESSAGE, RequestError, told
from app.graphql.http import parse_request
from app.json_text import InvalidJson, loads
from clients.errors import Forbidden, GatewayError, RateLimited, Unauthenticated
from resolvers.limits import LimitKind
from resolvers.principal import Principal
from resolvers.streams.events import DetachReason
from resolvers.streams.log import Leave

PROTOCOL = "graphql-transport-ws"
MAX_OPERATIONS = 100
MAX_ID_CHARS = 256
MAX_REASON_CHARS = 123
"""A close frame has room for 123 bytes of reason (RFC 6455, 5.5.1); the reasons are ASCII."""

LAST_WORDS_SECONDS = 1.0
"""How long a socket that closes waits for its readers to be told."""


class Close(IntEnum):
    """The close codes in use: the protocol's, and RFC 6455's for a server that is going down."""

    GOING_AWAY = 1001
    INVALID_MESSAGE = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    DUPLICATE = 4409
    TOO_MANY = 4429


class _Closed(Exception):
    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class GraphQLWebSocket:
    """The WebSocket half of ``/graphql``, as bare ASGI. ``grace`` is how long streams outlive their socket's token."""

    def __init__(self, doors: Doors, *, grace: float, init_seconds: float) -> None:
        self._doors = doors
        self._grace = grace
        self._init_seconds = init_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket to its end; none begins while the process drains."""
        await receive()
        if not self._doors.drain.is_open:
            await _turn_away(send)
            return
        if PROTOCOL not in scope.get("subprotocols", []):
            # a browser shows the close code only where one of the protocols it offered was accepted
            offered = scope.get("subprotocols") or [None]
            await send({"type": "websocket.accept", "subprotocol": offered[0]})
            reason = f"Speak {PROTOCOL} (npm graphql-ws)."
            await send({"type": "websocket.close", "code": int(Close.SUBPROTOCOL), "reason": reason})
            return
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        session = _Session(self._doors, scope, receive, send, self._grace, self._init_seconds)
        with self._doors.drain.socket():
            await session.run()


async def _turn_away(send: Send) -> None:
    """Refuse the handshake with 503."""
    headers = {"content-type": "text/plain; charset=utf-8", **retry_after(RETRY_SECONDS)}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": 503, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": f"{refusal().message}\n".encode()})


class _Session:
    def __init__(
        self, doors: Doors, scope: Scope, receive: Receive, send: Send, grace: float, init_seconds: float
    ) -> None:
        self._doors = doors
        self._scope = scope
        self._request_id: str = scope["state"]["request_id"]
        self._receive = receive
        self._send = send
        self._grace = grace
        self._init_seconds = init_seconds
        self._principal: Principal | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._over: asyncio.Future[_Closed] = asyncio.get_running_loop().create_future()
        self._expiry: asyncio.TimerHandle | None = None
        self._expired = False
        self._leave = Leave()

    async def run(self) -> None:
        """Read until either side ends it; then stop every operation."""
        reader = asyncio.create_task(self._read())
        drain = self._doors.drain
        try:
            with drain.leaving(self._leave), drain.watched(self._draining):
                if not drain.is_open:
                    self._draining(drain.stage)
                await asyncio.wait([reader, self._over], return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
            closed = self._over.result() if self._over.done() else reader.result()
            if closed is not None:
                await self._close(closed)
        finally:
            if self._expiry is not None:
                self._expiry.cancel()
            tasks = [reader, *self._operations.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self, closed: _Closed) -> None:
        """Close the socket.

        Where the process is stopping, operations that the end of the grace cuts short get an error first, and a ping
        says why the socket closes, which the close frame alone tells few clients.
        """
        if closed.code is Close.GOING_AWAY:
            for operation_id, task in list(self._operations.items()):
                task.cancel()
                await asyncio.wait([task])
                await self._fail(operation_id, interruption())
            await self._tell({"type": "ping", "payload": {"reason": REASON}})
        await self._send({"type": "websocket.close", "code": int(closed.code), "reason": closed.reason})

    def _draining(self, stage: Stage) -> None:
        """The process is stopping: close when the last operation has ended, or with the end of the grace."""
        if stage is Stage.CUTTING or not self._operations:
            self._go_away()

    def _go_away(self) -> None:
        if not self._over.done():
            self._over.set_result(_Closed(Close.GOING_AWAY, REASON))

    async def _read(self) -> _Closed | None:
        try:
            async with asyncio.timeout(self._init_seconds) as init:
                while (text := await self._next()) is not None:
                    await self._handle(_message(text))
                    if self._principal is not None:
                        init.reschedule(None)
        except TimeoutError:
            return _Closed(Close.INIT_TIMEOUT, "Connection initialisation timeout")
        except _Closed as closed:
            return closed
        except ClientLeft:
            return None
        return None

    async def _next(self) -> str | bytes | None:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | bytes | None = message.get("text")
        return text if text is not None else message.get("bytes", b"")

    async def _handle(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connection_init":
                await self._init(message.get("payload"))
            case "ping":
                await self._pong(_payload_of(message))
            case "pong":
                pass
            case "subscribe":
                await self._subscribe(_id(message), message.get("payload"))
            case "complete":
                if task := self._operations.pop(_id(message), None):
                    task.cancel()
            case _:
                raise _Closed(Close.INVALID_MESSAGE, "Invalid message type")

    async def _pong(self, payload: dict[str, Any]) -> None:
        try:
            await self._tell({"type": "pong", **payload})
        except orjson.JSONEncodeError as error:  # orjson reads deeper than it writes
            raise _Closed(Close.INVALID_MESSAGE, "payload is nested too deeply") from error

    async def _init(self, payload: object) -> None:
        if self._principal is not None:
            raise _Closed(Close.TOO_MANY, "Too many initialisation requests")
        if payload is not None and not isinstance(payload, dict):
            raise _Closed(Close.INVALID_MESSAGE, "payload must be an object")
        parameters = {str(name).lower(): value for name, value in (payload or {}).items()}
        given = parameters.get("authorization", header(self._scope, b"authorization"))
        try:
            self._principal = self._doors.authenticator.principal(given if isinstance(given, str) else None)
        except (Unauthenticated, Forbidden) as error:
            raise _Closed(Close.FORBIDDEN, error.reason or "Forbidden") from error
        left = max(0.0, self._principal.expires_at - time.time())
        self._expiry = asyncio.get_running_loop().call_later(left, self._expire)
        await self._tell({"type": "connection_ack"})

    def _expire(self) -> None:
        """The token has expired: nothing new begins, and the socket closes when its streams have ended."""
        self._expired = True
        if self._operations:
            self._expiry = asyncio.get_running_loop().call_later(self._grace, self._let_go)
        else:
            self._sign_out()

    def _let_go(self) -> None:
        """The grace is over: readers are told so, with a cursor each, and the socket closes when they have heard it."""
        self._leave.now(DetachReason.SIGNED_OUT)
        self._expiry = asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._sign_out)

    def _sign_out(self) -> None:
        if not self._over.done():
            self._over.set_result(_Closed(Close.FORBIDDEN, "TOKEN_EXPIRED"))

    async def _subscribe(self, operation_id: str, payload: object) -> None:
        if self._principal is None:
            raise _Closed(Close.UNAUTHORIZED, "Unauthorized")
        if operation_id in self._operations:
            raise _Closed(Close.DUPLICATE, f"Subscriber for {ascii(operation_id)[1:-1][:80]} already exists")
        if not isinstance(payload, dict):
            raise _Closed(Close.INVALID_MESSAGE, "payload must be an object")
        # refused here, not in a task: a client that does not read its refusals is not read any further
        if not self._doors.drain.is_open:
            await self._fail(operation_id, refusal())
        elif self._expired:
            expired = Unauthenticated("The token has expired: sign in again.", reason="TOKEN_EXPIRED")
            await self._fail(operation_id, expired)
        elif len(self._operations) >= MAX_OPERATIONS:
            message = f"A socket runs at most {MAX_OPERATIONS} operations at a time."
            await self._fail(operation_id, RateLimited(message, reason="OPERATIONS"))
        elif await self._counted(operation_id, self._principal):
            task = asyncio.create_task(self._operate(operation_id, self._principal, payload))
            self._operations[operation_id] = task
            task.add_done_callback(lambda done: self._done(operation_id, done))

    async def _counted(self, operation_id: str, principal: Principal) -> bool:
        """Count an operation; one over the limit is refused, and the socket lives on."""
        try:
            await self._doors.resources.limits.count(principal.user_id, LimitKind.GENERAL)
        except RateLimited as error:
            await self._fail(operation_id, error)
            return False
        return True

    def _done(self, operation_id: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # seen: only a client that left in mid-refusal leaves one
        if self._operations.get(operation_id) is task:
            del self._operations[operation_id]
        if self._operations:
            return
        if self._expired:
            self._sign_out()
        elif not self._doors.drain.is_open:
            self._go_away()

    async def _operate(self, operation_id: str, principal: Principal, payload: dict[str, Any]) -> None:
        try:
            with self._doors.drain.request():
                await self._relay(operation_id, principal, payload)
        except ClientLeft:
            return
        except (GatewayError, RequestError) as error:
            await self._fail(operation_id, error)
        except Exception:  # whatever went wrong, the client must not wait for ever
            self._doors.telemetry.log.exception("internal error", request_id=self._request_id)
            await self._fail(operation_id, GatewayError(INTERNAL_MESSAGE))

    async def _relay(self, operation_id: str, principal: Principal, payload: dict[str, Any]) -> None:
        request = parse_request(payload)
        operation = self._doors.engine.documents.operation(request.query, request.operation_name)
        context = self._doors.context(principal, self._request_id, header(self._scope, b"traceparent"), self._leave)
        answers = self._doors.engine.answers(operation, request.variables, context, report_cost=request.report_cost)
        if operation.kind is OperationType.SUBSCRIPTION:
            with self._doors.drain.stream():
                await self._send_answers(operation_id, answers)
        else:
            await self._send_answers(operation_id, answers)

    async def _send_answers(self, operation_id: str, answers: AsyncGenerator[Payload, None]) -> None:
        begun = False
        async with aclosing(answers):
            async for answer in answers:
                if not begun and "data" not in answer:
                    await self._tell({"id": operation_id, "type": "error", "payload": answer["errors"]})
                    return
                begun = True
                await self._tell({"id": operation_id, "type": "next", "payload": answer})
        await self._tell({"id": operation_id, "type": "complete"})

    async def _fail(self, operation_id: str, error: GatewayError | RequestError) -> None:
        await self._tell({"id": operation_id, "type": "error", "payload": told(error, self._request_id)})

    async def _tell(self, message: dict[str, Any]) -> None:
        try:
            await self._send({"type": "websocket.send", "text": orjson.dumps(message).decode()})
        except OSError as error:
            raise ClientLeft from error


def _message(text: str | bytes) -> dict[str, Any]:
    try:
        message = loads(text)
    except InvalidJson as error:
        raise _Closed(Close.INVALID_MESSAGE, f"Invalid JSON: {error}"[:MAX_REASON_CHARS]) from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise _Closed(Close.INVALID_MESSAGE, "A message is an object with a type")
    return message


def _id(message: dict[str, Any]) -> str:
    operation_id = message.get("id")
    if not isinstance(operation_id, str) or not 0 < len(operation_id) <= MAX_ID_CHARS:
        raise _Closed(Close.INVALID_MESSAGE, f"id must be a string of 1 to {MAX_ID_CHARS} characters")
    return operation_id


def _payload_of(message: dict[str, Any]) -> dict[str, Any]:
    return {"payload": message["payload"]} if "payload" in message else {}
