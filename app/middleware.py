"""Pure ASGI middleware: request ids, the access log, the bound on concurrency. Outermost but for CORS."""

from __future__ import annotations

import re
import time
import uuid

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import header, respond
from app.graphql.errors import INTERNAL_MESSAGE, extensions, gateway_extensions, shaped
from app.telemetry import Telemetry
from clients.errors import ErrorCode, Overloaded

REQUEST_ID = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_ROUTES = frozenset(
    {
        "/graphql",
        "/v1/chat/completions",
        "/v1/models",
        "/ping",
        "/health",
        "/metrics",
        "/docs",
        "/redoc",
        "/openapi.json",
    }
)


class RequestScope:
    """Gives every request an id, puts it on the answer, and tells the telemetry how it went.

    A client's own ``X-Request-ID`` is kept if it is short and plain.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry, max_concurrent: int) -> None:
        self._app = app
        self._telemetry = telemetry
        self._max_concurrent = max_concurrent
        self._concurrent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = header(scope, b"x-request-id")
        request_id = given if given is not None and _ID.fullmatch(given) else str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, receive, send, request_id)

    async def _http(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        began, status = time.perf_counter(), 499

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        self._concurrent += 1
        try:
            if self._concurrent > self._max_concurrent and scope["path"] not in {"/ping", "/health", "/metrics"}:
                await _overloaded(identified, request_id)
            else:
                await self._app(scope, receive, identified)
        except Exception:
            self._telemetry.log.exception("internal error", request_id=request_id)
            if status == 499:
                await _internal(identified, request_id)
        finally:
            self._concurrent -= 1
            route = scope["path"] if scope["path"] in _ROUTES else "other"
            self._telemetry.request_ended(route, scope["method"], status, time.perf_counter() - began, request_id)


async def _overloaded(send: Send, request_id: str) -> None:
    error = Overloaded("The gateway is busy.", retry_after_seconds=1)
    body = orjson.dumps({"errors": [shaped(error.message, gateway_extensions(error, request_id))]})
    await respond(send, error.http_status, body, "application/json", {"retry-after": "1"})


async def _internal(send: Send, request_id: str) -> None:
    facts = extensions(ErrorCode.INTERNAL_ERROR, request_id=request_id)
    await respond(send, 500, orjson.dumps({"errors": [shaped(INTERNAL_MESSAGE, facts)]}), "application/json")
