"""The parts that all endpoints share: sign-in, slots, the engine and the resolvers' resources."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope

from app.asgi import read_body
from app.drain import Drain
from app.graphql.engine import Engine
from app.json_text import values_in
from app.signin.authenticator import Authenticator
from app.slots import Slots
from app.telemetry import Telemetry
from clients.origin import Endpoint, Origin
from resolvers.context import RequestContext
from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.log import Leave

LETTA_BODY_SECONDS = 5.0
"""The timeout of a request body from Letta, in seconds. With a longer timeout, requests with one agent
secret could occupy all of Letta's slots."""

SMALL_CHARS = 16 * 1024
"""``Gateway.pace`` delays only JSON texts with more characters. Shorter texts are parsed in well under a millisecond.
"""

VALUES_PER_FIELD = 50
"""Parsing this many JSON values takes about as long as completing one GraphQL field."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Everything that the endpoints share.

    Attributes:
        open_introspection: whether introspection needs no token.
        open_metrics: whether metrics and health details are public if ``metrics_token`` is not set.
        fault_page: the local URL of the embedded services' page for injecting faults.
        issuer: the embedded Supabase, if development tokens are accepted.
    """

    engine: Engine
    authenticator: Authenticator
    resources: Resources
    telemetry: Telemetry
    drain: Drain
    slots: Slots
    open_introspection: bool
    open_metrics: bool
    max_body_bytes: int
    metrics_token: str | None
    fault_page: str | None = None
    issuer: ASGIApp | None = None

    @property
    def heartbeat(self) -> float:
        """Return the interval of heartbeats, in seconds."""
        return self.resources.streams.limits.heartbeat

    async def body(self, scope: Scope, receive: Receive, *, origin: Origin = Origin.USER) -> bytes:
        """Read a request's body with ``read_body``, and wait until parsing the body does not block the event loop."""
        seconds = self.resources.timeouts.request
        if origin is Origin.LETTA:
            seconds = min(seconds, LETTA_BODY_SECONDS)
        hold = scope["state"]["slot"].hold_body
        body = await read_body(scope, receive, hold, limit=self.max_body_bytes, seconds=seconds)
        await self.pace(body)
        return body

    async def pace(self, text: bytes | str) -> None:
        """Wait until parsing a JSON text does not block the event loop. Short texts do not wait."""
        if len(text) > SMALL_CHARS:
            await self.engine.pacer.wait()
            self.engine.pacer.take(values_in(text) // VALUES_PER_FIELD)

    async def principal(self, authorization: str | None, address: str) -> Principal | None:
        """Return the authenticated user, or ``None`` for introspection without a token.

        Raise GatewayError if the token is missing, invalid or cannot be verified, and if too many sign-ins from the
        client's address have failed.
        """
        if authorization is None and self.open_introspection:
            return None
        return await self.authenticator.principal(authorization, address)

    def context(
        self,
        principal: Principal | None,
        request_id: str,
        traceparent: str | None = None,
        leave: Leave | None = None,
        *,
        endpoint: Endpoint = Endpoint.HTTP,
    ) -> RequestContext:
        """Create the context of one GraphQL operation or REST request."""
        origin = Origin.LETTA if endpoint is Endpoint.PROXY else Origin.USER
        return RequestContext(
            self.resources, principal, request_id, traceparent, leave, origin=origin, endpoint=endpoint
        )
