"""ASGI middleware for request ids, response headers, logging, shutdown, internal errors and HEAD requests."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import accept_of, header
from app.drain import Drain, Stage, interruption, refusal
from app.graphql import refusals
from app.graphql.errors import INTERNAL_MESSAGE
from app.graphql.media import accepted
from app.response_headers import ResponseHeaders
from app.rest import envelope
from app.rest.table import is_rest, origin_of, template_of
from app.telemetry import Telemetry
from clients.errors import GatewayError
from clients.origin import Origin

CLIENT_DISCONNECTED = 499
"""The logged status of a request whose client disconnected before the response began."""

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RANDOM_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_IDS = 64
_VERSION_4 = 0x00000000_0000_4000_8000_000000000000
_ROUTES = frozenset({"/", "/graphql", "/ping", "/readyz", "/health", "/metrics", "/docs", "/redoc", "/openapi.json"})
_BEGINS = frozenset({"websocket.accept", "websocket.http.response.start"})
ALWAYS_OPEN = frozenset({"/ping", "/readyz", "/health", "/metrics"})
"""The paths of health checks and metrics. The gateway always serves these paths."""


def request_id_of(scope: Scope) -> str:
    """Return the header ``X-Request-ID``, or a new id if the header is missing or invalid."""
    request_id = header(scope, b"x-request-id")
    return request_id if request_id is not None and _ID.fullmatch(request_id) else _ids.new()


class _Ids:
    """Makes UUIDs of version 4 (RFC 9562, 5.4), in a sixth of the time that ``uuid.uuid4`` takes.

    One system call reads the random bits of many ids. A forked process reads its own bits.
    """

    def __init__(self) -> None:
        self._bits: list[bytes] = []
        os.register_at_fork(after_in_child=self._bits.clear)

    def new(self) -> str:
        """Return a new id."""
        if not self._bits:
            read = os.urandom(16 * _IDS)
            self._bits += [read[at : at + 16] for at in range(0, len(read), 16)]
        text = (int.from_bytes(self._bits.pop()) & _RANDOM_BITS | _VERSION_4).to_bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_ids = _Ids()


class Edge:
    """The outermost middleware inside ``Admission``, for requests and WebSockets.

    Every response has an id, is logged, and can be read by a page of an allowed origin. HEAD is answered like GET, but
    without a body (RFC 9110, 9.3.2): ``scope["state"]["head"]`` tells endpoints to start no stream. While the process
    stops, requests are refused. A request that causes an internal error is answered with status 500, without details.

    It is one middleware with one object per request, because each layer of its own costs as much as an endpoint.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, drain: Drain, headers: ResponseHeaders) -> None:
        self.app = app
        self.headers = headers
        self.telemetry = telemetry
        self.drain = drain

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        kind = scope["type"]
        if kind == "http":
            return _Request(self, scope, send).serve(receive)
        if kind == "websocket":
            return _Socket(self, scope, send).serve(receive)
        return self.app(scope, receive, send)


class _Socket:
    """One WebSocket, and ``send`` for its messages. A class with slots, because a closure would take 300 bytes more."""

    __slots__ = ("_edge", "_scope", "_send", "_status")

    def __init__(self, edge: Edge, scope: Scope, send: Send) -> None:
        self._edge = edge
        self._scope = scope
        self._send = send
        self._status = CLIENT_DISCONNECTED

    async def serve(self, receive: Receive) -> None:
        """Serve the WebSocket."""
        edge, scope, began = self._edge, self._scope, time.perf_counter()
        request_id = scope.setdefault("state", {})["request_id"] = request_id_of(scope)
        try:
            await edge.app(scope, receive, self.send)
        except asyncio.CancelledError:
            if edge.drain.stage is not Stage.CUTTING:
                raise
        finally:
            seconds = time.perf_counter() - began
            edge.telemetry.request_ended(_route(scope), "WEBSOCKET", self._status, seconds, request_id)

    async def send(self, message: Message) -> None:
        """Send a message. The handshake's response gets the headers of every response."""
        if message["type"] == "websocket.close" and self._status == CLIENT_DISCONNECTED:
            self._status = 403
            start: Message = {"type": "websocket.http.response.start", "status": self._status}
            self._edge.headers.add(start, self._scope)
            await self._send(start)
            message = {"type": "websocket.http.response.body", "body": b"There is no socket here.\n"}
        elif message["type"] in _BEGINS:
            self._status = message.get("status", 101)
            self._edge.headers.add(message, self._scope)
        await self._send(message)


class _Request:
    """One HTTP request, and ``send`` for its response.

    At the end of the grace period, the server cancels requests. A request without a response then receives an error,
    and the cancellation is not raised to the server, which would log an error.
    """

    __slots__ = ("_edge", "_ended", "_scope", "_send", "_status", "_task")

    def __init__(self, edge: Edge, scope: Scope, send: Send) -> None:
        self._edge = edge
        self._scope = scope
        self._send = send
        self._status = 0
        self._ended = False
        self._task: asyncio.Task[Any] | None = None

    async def serve(self, receive: Receive) -> None:
        """Serve the request."""
        edge, scope, drain = self._edge, self._scope, self._edge.drain
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = request_id_of(scope)
        method, began = scope["method"], time.perf_counter()
        send = self.send if method != "HEAD" else self.send_head
        edge.telemetry.request_began(request_id)
        self._task = asyncio.current_task()
        counts = scope["path"] not in ALWAYS_OPEN
        drain.begin(self, self._cut, counts=counts)
        try:
            try:
                if method == "OPTIONS" and (answer := edge.headers.preflight(scope)) is not None:
                    await answer(scope, receive, send)
                elif counts and not drain.is_open and not self._is_accepted():
                    await refuse(scope, send, refusal())
                else:
                    await edge.app(scope if method != "HEAD" else self._as_get(), receive, send)
            finally:
                drain.end(self, counts=counts)
        except asyncio.CancelledError:
            if drain.stage is not Stage.CUTTING:
                raise
            if not self._status:
                await refuse(scope, send, refusal() if is_rest(scope["path"]) else interruption())
        except Exception:  # no outer middleware can send a response
            edge.telemetry.log.exception("internal error", request_id=request_id)
            if self._status:
                raise  # the server aborts the response, so that the client detects the missing end
            await refuse(scope, send, GatewayError(INTERNAL_MESSAGE))
        finally:
            self._task = None
            status, seconds = self._status or CLIENT_DISCONNECTED, time.perf_counter() - began
            edge.telemetry.request_ended(_route(scope), method, status, seconds, request_id, state.get("refused"))

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the response. The first part gets the headers of every response."""
        if not self._status and message["type"] == "http.response.start":
            self._status = message["status"]
            self._edge.headers.add(message, self._scope, closes=not self._edge.drain.is_open)
        return self._send(message)

    async def send_head(self, message: Message) -> None:
        """Send the response to a HEAD request."""
        if message["type"] == "http.response.start":
            await self.send(message)
        if not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": b""})

    def _as_get(self) -> Scope:
        self._scope["state"]["head"] = True
        return {**self._scope, "method": "GET"}

    def _is_accepted(self) -> bool:
        """Return whether a stopping process serves the request. Turns in progress need Letta's requests.

        These are served until the readers are detached.
        """
        is_lettas = origin_of(self._scope["path"]) is Origin.LETTA
        return self._edge.drain.stage < (Stage.DETACHING if is_lettas else Stage.DRAINING)

    def _cut(self, stage: Stage) -> None:
        """In the stage ``CUTTING``, cancel the request unless a response has begun."""
        if stage is Stage.CUTTING and self._task is not None and not self._status:
            self._task.cancel()


def _route(scope: Scope) -> str:
    """Return the name of a request's route in metrics."""
    path: str = scope["path"]
    return path if path in _ROUTES else template_of(path) or "other"


async def refuse(scope: Scope, send: Send, error: GatewayError) -> None:
    """Send an error in the format of the request's endpoint."""
    if is_rest(scope["path"]):
        await envelope.refuse(send, error)
    else:
        await refusals.refuse(scope, send, accepted(accept_of(scope)), error)
