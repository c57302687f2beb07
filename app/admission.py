"""The first step of a request: whose it is, whether that owner has a place left, and whether the loop has time for it.

It stands before routing and every other middleware, since refusing must stay cheap when there is much to refuse.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.callers import identified
from app.gate import Gate
from app.middleware import ALWAYS_OPEN, REQUEST_ID, refuse, request_id_of
from app.places import Places
from app.rest.secrets import ProxySecrets
from app.telemetry import Telemetry
from clients.errors import GatewayError, Overloaded, RateLimited

LOG_SECONDS = 1.0
"""How often the log says that requests are refused: a line for each would cost more than refusing it."""


class Admission:
    """Lets requests in, or refuses them before they are routed or their body is read.

    Args:
        app: serves what is let in.
        gate: knows who may come in, once the lifespan has begun.
        places: the places of the process.
        secrets: what opens the proxies of agents.
        cors: the options of the ``CORSMiddleware`` that answers what is let in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: Gate,
        places: Places,
        secrets: ProxySecrets,
        telemetry: Telemetry,
        cors: Mapping[str, Any],
    ) -> None:
        self._app = app
        self._gate = gate
        self._places = places
        self._secrets = secrets
        self._telemetry = telemetry
        self._refused = CORSMiddleware(_refused, **cors)
        self._unlogged = 0
        self._logged = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Sockets, and what tells how the gateway is, are let in always."""
        doors = self._gate.doors
        if scope["type"] != "http" or doors is None or scope["path"] in ALWAYS_OPEN or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = caller = identified(doors, self._secrets, scope)
        try:
            place = self._places.take(caller)
        except (RateLimited, Overloaded) as error:
            await self._refuse(scope, receive, send, error)
            return
        try:
            try:
                await place.enter()
            except Overloaded as error:
                await self._refuse(scope, receive, send, error)
                return
            state["place"] = place
            await self._app(scope, receive, send)
        finally:
            place.leave()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: GatewayError) -> None:
        state = scope["state"]
        state["request_id"], state["refusal"] = request_id_of(scope), error
        await self._refused(scope, receive, send)
        self._telemetry.request_shed(error.reason or error.code)
        self._unlogged += 1
        if (now := time.monotonic()) >= self._logged + LOG_SECONDS:
            self._telemetry.log.warning("shed", requests=self._unlogged, reason=error.reason)
            self._logged, self._unlogged = now, 0


async def _refused(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - the signature of ASGI
    """Answer a request with the error in its state."""
    state = scope["state"]

    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID], headers["X-Content-Type-Options"] = state["request_id"], "nosniff"
        await send(message)

    await refuse(scope, named, state["refusal"])
