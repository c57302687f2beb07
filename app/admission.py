"""Middleware that admits or refuses HTTP requests.

Admission identifies each request's sender, takes a slot for the request, and sheds load. Admission runs before routing
and all other middleware, so that refusals stay cheap under overload.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import header
from app.endpoints import Endpoints
from app.identity import identify, sender_of
from app.middleware import ALWAYS_OPEN, REQUEST_ID, refuse, request_id_of
from app.rest.secrets import ProxySecrets
from app.security_headers import SecurityHeaders
from app.slots import Slots
from app.telemetry import Telemetry
from clients.errors import GatewayError, Overloaded, RateLimited

_REQUEST_ID = REQUEST_ID.lower().encode()
_BY_ORIGIN = (b"vary", b"Origin")

LOG_SECONDS = 1.0
"""Interval between log lines about refused requests, in seconds.

Writing a log line takes longer than refusing a request.
"""


class Admission:
    """Middleware that admits or refuses each HTTP request before the request's body is read.

    Args:
        endpoints: contain the gateway after startup. The gateway authenticates users.
        secrets: authenticate agents' calls to the proxy.
        cors: the options of ``CORSMiddleware``. Refusals get the same CORS headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoints: Endpoints,
        slots: Slots,
        secrets: ProxySecrets,
        telemetry: Telemetry,
        cors: Mapping[str, Any],
        security: SecurityHeaders,
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._slots = slots
        self._secrets = secrets
        self._telemetry = telemetry
        self._cors = CORSMiddleware(app, **cors)
        self._security = security
        self._readable = _raw(self._cors.simple_headers)
        self._unlogged = 0
        self._logged = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. WebSockets, health checks and CORS preflights are always admitted."""
        gateway = self._endpoints.gateway
        if scope["type"] != "http" or gateway is None or scope["path"] in ALWAYS_OPEN or _is_preflight(scope):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["identity"] = identity = await identify(gateway, self._secrets, scope)
        try:
            slot = self._slots.take(identity.owner)
        except (RateLimited, Overloaded) as error:
            await self._refuse(scope, send, error)
            return
        try:
            try:
                await slot.enter()
            except Overloaded as error:
                await self._refuse(scope, send, error)
                return
            state["slot"] = slot
            await self._app(scope, receive, send)
        finally:
            slot.leave()

    async def _refuse(self, scope: Scope, send: Send, error: GatewayError) -> None:
        fields = self._fields(scope)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += fields
                self._security.add(message, scope)
            await send(message)

        await refuse(scope, named, error)
        self._telemetry.audit.refused(error, sender_of(scope))
        self._telemetry.request_shed(error.reason or error.code)
        self._unlogged += 1
        if (now := time.monotonic()) >= self._logged + LOG_SECONDS:
            self._telemetry.log.warning("shed", requests=self._unlogged, reason=error.reason)
            self._logged, self._unlogged = now, 0

    def _fields(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        request_id = scope["state"]["request_id"] = request_id_of(scope)
        fields = [(_REQUEST_ID, request_id.encode()), _BY_ORIGIN]
        origin = header(scope, b"origin")
        if origin is not None and self._cors.is_allowed_origin(origin):
            fields += [*self._readable, (b"access-control-allow-origin", origin.encode("latin-1"))]
        return fields


def _is_preflight(scope: Scope) -> bool:
    return scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None


def _raw(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]
