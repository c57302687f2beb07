"""Middleware that admits or refuses HTTP requests.

Admission identifies each request's sender, takes a slot for the request, and sheds load. Admission runs before routing
and all other middleware, so that refusals stay cheap under overload.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import header
from app.connections.prepared import Form, PreparedRefusals, form_of
from app.endpoints import Endpoints
from app.gateway import Gateway
from app.identity import Identity, identified, identify, identity_of, sender_of
from app.middleware import ALWAYS_OPEN, refuse, request_id_of
from app.response_headers import ResponseHeaders
from app.rest.secrets import ProxySecrets
from app.slots import Slot, Slots
from app.telemetry import Telemetry
from clients.errors import GatewayError, Overloaded, RateLimited

LOG_SECONDS = 1.0
"""Interval between log lines about refused requests, in seconds.

Writing a log line takes longer than refusing a request.
"""


@dataclass(slots=True)
class Known:
    """A request's sender, and the form of a refusal. Requests with equal heads over the same connection share it."""

    identity: Identity
    form: Form | None = None

    def current(self, gateway: Gateway) -> Identity | None:
        """Return the sender, or ``None`` if the sender's token is no longer valid."""
        principal = self.identity.principal
        return self.identity if principal is None or gateway.authenticator.is_current(principal) else None


class Admission:
    """Middleware that admits or refuses each HTTP request before the request's body is read.

    Args:
        endpoints: contain the gateway after startup. The gateway authenticates users.
        secrets: authenticate agents' calls to the proxy.
        headers: the headers of all responses, which refusals get too.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        endpoints: Endpoints,
        slots: Slots,
        secrets: ProxySecrets,
        telemetry: Telemetry,
        headers: ResponseHeaders,
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._slots = slots
        self._secrets = secrets
        self._telemetry = telemetry
        self._headers = headers
        self._prepared = PreparedRefusals(self._refuse)
        self._unlogged = 0
        self._logged = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request like ``serve``. Servers recognize an ASGI application by this coroutine function."""
        await self.serve(scope, receive, send)

    def serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request. WebSockets, health checks and CORS preflights are always admitted."""
        gateway = self._endpoints.gateway
        slot: Slot | None = scope.setdefault("state", {}).get("slot")
        if slot is None and (scope["type"] != "http" or gateway is None or _is_exempt(scope)):
            return self._app(scope, receive, send)
        return self._serve(gateway, slot, scope, receive, send)

    async def _serve(
        self, gateway: Gateway | None, slot: Slot | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            if slot is None and gateway is not None:  # otherwise, the connection has called ``decide``
                identity = await identify(gateway, self._secrets, scope)
                try:
                    slot = self._take(scope, identity)
                    await slot.enter()
                except (RateLimited, Overloaded) as error:
                    self._count(scope, error)
                    await self._refuse(scope, send, error)
                    return
            await self._app(scope, receive, send)
        finally:
            if slot is not None:
                slot.leave()

    def decide(self, scope: Scope) -> Slot | GatewayError | None:
        """Decide about a request before a task is started for it. See ``Gate``."""
        gateway = self._endpoints.gateway
        if gateway is None or _is_exempt(scope):
            return None
        state = scope["state"]
        known: Known | None = state.get("known")
        identity = None if known is None else known.current(gateway)
        if identity is None:
            identity = identified(gateway, scope)
            if identity is None:
                return None
            state["known"] = Known(identity)
        state["identity"] = identity
        slot = self._slots.offer(identity.owner)
        if isinstance(slot, Slot):
            state["slot"] = slot
            slot.begin()
        return slot

    def refusal(
        self, scope: Scope, error: GatewayError, *, keep_alive: bool, fields: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        """Count a refusal, and return the bytes of its answer. See ``Gate``."""
        self._count(scope, error)
        state = scope["state"]
        known: Known = state["known"]
        form = known.form
        if form is None or form.keep_alive != keep_alive:
            form = known.form = form_of(scope, origin=self._headers.readable_by(scope), keep_alive=keep_alive)
        return self._prepared.answer(scope, error, form, fields)

    def _take(self, scope: Scope, identity: Identity) -> Slot:
        state = scope["state"]
        state["identity"] = identity
        slot: Slot = self._slots.take(identity.owner)
        state["slot"] = slot
        return slot

    def _count(self, scope: Scope, error: GatewayError) -> None:
        scope["state"]["request_id"] = request_id_of(scope)
        if isinstance(error, RateLimited):
            owner = identity_of(scope).owner.id
            self._telemetry.audit.limit_exceeded(error, owner, partial(sender_of, scope))
        self._telemetry.request_shed(error.reason or error.code)
        self._unlogged += 1
        if (now := time.monotonic()) >= self._logged + LOG_SECONDS:
            self._telemetry.log.warning("shed", requests=self._unlogged, reason=error.reason)
            self._logged, self._unlogged = now, 0

    async def _refuse(self, scope: Scope, send: Send, error: GatewayError) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._headers.add(message, scope)
            await send(message)

        await refuse(scope, named, error)


def _is_exempt(scope: Scope) -> bool:
    """Return whether a request always is admitted: a health check or a CORS preflight."""
    if scope["path"] in ALWAYS_OPEN:
        return True
    return scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None
