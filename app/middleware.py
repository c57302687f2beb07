"""ASGI middleware for request ids, logging, shutdown, internal errors and HEAD requests.

The order inside ``Admission`` is, outermost first: ``RequestScope``, CORS, ``HeadAsGet``, ``Shield``. In this order,
every response has an id, is logged, and can be read by a page of an allowed origin.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import accept_of, header
from app.drain import Drain, Stage, interruption, refusal
from app.graphql import refusals
from app.graphql.errors import INTERNAL_MESSAGE
from app.graphql.media import accepted
from app.rest import envelope
from app.rest.table import is_rest, origin_of, template_of
from app.security_headers import SecurityHeaders
from app.telemetry import Telemetry
from clients.errors import GatewayError
from clients.origin import Origin

REQUEST_ID = "X-Request-ID"
CLIENT_DISCONNECTED = 499
"""The logged status of a request whose client disconnected before the response began."""

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_RANDOM_BITS = 0xFFFFFFFF_FFFF_0FFF_3FFF_FFFFFFFFFFFF
_VERSION_4 = 0x00000000_0000_4000_8000_000000000000
_ROUTES = frozenset({"/", "/graphql", "/ping", "/readyz", "/health", "/metrics", "/docs", "/redoc", "/openapi.json"})
_BEGINS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
ALWAYS_OPEN = frozenset({"/ping", "/readyz", "/health", "/metrics"})
"""The paths of health checks and metrics. The gateway always serves these paths."""


def request_id_of(scope: Scope) -> str:
    """Return the header ``X-Request-ID``, or a new id if the header is missing or invalid."""
    request_id = header(scope, b"x-request-id")
    return request_id if request_id is not None and _ID.fullmatch(request_id) else _new_id()


def _new_id() -> str:
    """Return a UUID of version 4 (RFC 9562, 5.4), in a third of the time that ``uuid.uuid4`` takes."""
    text = (int.from_bytes(os.urandom(16)) & _RANDOM_BITS | _VERSION_4).to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class RequestScope:
    """Assigns an id to each request, and logs the request.

    The response's headers contain the id and the security headers. At the end of the grace period, the server cancels
    requests. The cancellation is not raised to the server, which would log an error.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, drain: Drain, security: SecurityHeaders) -> None:
        self._app = app
        self._security = security
        self._telemetry = telemetry
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request_id = scope.setdefault("state", {})["request_id"] = request_id_of(scope)
        began, status = time.perf_counter(), CLIENT_DISCONNECTED

        def named(message: Message) -> Message:
            message.setdefault("headers", [])
            MutableHeaders(scope=message)[REQUEST_ID] = request_id
            self._security.add(message, scope)
            return message

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.close" and status == CLIENT_DISCONNECTED:
                status = 403
                await send(named({"type": "websocket.http.response.start", "status": status}))
                message = {"type": "websocket.http.response.body", "body": b"There is no socket here.\n"}
            elif message["type"] in _BEGINS:
                status = message.get("status", 101)
                message = named(message)
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        except asyncio.CancelledError:
            if self._drain.stage is not Stage.CUTTING:
                raise
        finally:
            route = scope["path"] if scope["path"] in _ROUTES else template_of(scope["path"]) or "other"
            method = scope.get("method", "WEBSOCKET")
            seconds, refused = time.perf_counter() - began, scope["state"].get("refused")
            self._telemetry.request_ended(route, method, status, seconds, request_id, refused)


class Shield:
    """Refuses requests while the process stops, and hides the details of internal errors.

    A request that causes an internal error is answered with status 500. Letta's requests are served until the readers
    are detached, because turns in progress need these requests. At the end of the grace period, requests without a
    response receive an error.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, drain: Drain) -> None:
        self._app = app
        self._telemetry = telemetry
        self._drain = drain

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        serve = self._shielded if scope["type"] == "http" else self._app
        return serve(scope, receive, send)

    async def _shielded(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, task = False, asyncio.current_task()

        def cut(stage: Stage) -> None:
            """In the stage ``CUTTING``, cancel the request unless a response has begun."""
            if stage is Stage.CUTTING and task is not None and not begun:
                task.cancel()

        async def watched(message: Message) -> None:
            nonlocal begun
            if not begun and not self._drain.is_open:
                message.setdefault("headers", [])
                MutableHeaders(scope=message)["Connection"] = "close"
            begun = True
            await send(message)

        try:
            with self._drain.watched(cut):
                await self._serve(scope, receive, watched)
        except asyncio.CancelledError:
            if begun or self._drain.stage is not Stage.CUTTING:
                raise
            await refuse(scope, watched, refusal() if is_rest(scope["path"]) else interruption())
        except Exception:  # no outer middleware can send a response
            self._telemetry.log.exception("internal error", request_id=scope["state"]["request_id"])
            if begun:
                raise  # the server aborts the response, so that the client detects the missing end
            await refuse(scope, watched, GatewayError(INTERNAL_MESSAGE))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in ALWAYS_OPEN:
            await self._app(scope, receive, send)
        elif not self._accepts(origin_of(scope["path"])):
            await refuse(scope, send, refusal())
        else:
            with self._drain.request():
                await self._app(scope, receive, send)

    def _accepts(self, origin: Origin) -> bool:
        return self._drain.stage < (Stage.DETACHING if origin is Origin.LETTA else Stage.DRAINING)


async def refuse(scope: Scope, send: Send, error: GatewayError) -> None:
    """Send an error in the format of the request's endpoint."""
    if is_rest(scope["path"]):
        await envelope.refuse(send, error)
    else:
        await refusals.refuse(scope, send, accepted(accept_of(scope)), error)


class HeadAsGet:
    """Answers a HEAD request like a GET request, but without a body (RFC 9110, 9.3.2).

    ``scope["state"]["head"]`` tells endpoints to start no stream.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        serve = self._serve if scope["type"] == "http" and scope["method"] == "HEAD" else self._app
        return serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        ended = False
        scope["state"]["head"] = True

        async def without_body(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start":
                await send(message)
            if not ended:
                ended = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, without_body)
