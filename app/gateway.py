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
from clients.origin import Origin
from resolvers.context import RequestContext
from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.log import Leave

LETTA_BODY_SECONDS = 5.0
"""The timeout of a request body from Letta, in seconds. With a longer timeout, requests with one agent
secret could occupy all of Letta's slots."""

SMALL_CHARS = 16 * 1024
"""Maximum number of characters of a JSON text that is parsed without pacing, in well under a millisecond."""

VALUES_PER_FIELD = 50
"""How many JSON values are parsed in about the time that completing one field takes."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The parts of the process that its endpoints use.

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
        """Read a request's body with ``read_body``, and wait until the body may be parsed."""
        seconds = self.resources.timeouts.request
        if origin is Origin.LETTA:
            seconds = min(seconds, LETTA_BODY_SECONDS)
        hold = scope["state"]["slot"].hold_body
        body = await read_body(scope, receive, hold, limit=self.max_body_bytes, seconds=seconds)
        await self.pace(body)
        return body

    async def pace(self, text: bytes | str) -> None:
        """Wait until a JSON text may be parsed: parsing many texts at once would block the event loop."""
        if len(text) > SMALL_CHARS:
            await self.engine.pacer.wait()
            self.engine.pacer.take(values_in(text) // VALUES_PER_FIELD)

    async def principal(self, authorization: str | None) -> Principal | None:
        """Return the authenticated user, or ``None`` if there is no token and introspection needs none.

        Raise GatewayError if the token is missing, invalid or cannot be verified.
        """
        if authorization is None and self.open_introspection:
            return None
        return await self.authenticator.principal(authorization)

    def context(
        self,
        principal: Principal | None,
        request_id: str,
        traceparent: str | None = None,
        leave: Leave | None = None,
        *,
        origin: Origin = Origin.USER,
    ) -> RequestContext:
        """Return the context of one operation."""
        return RequestContext(self.resources, principal, request_id, traceparent, leave, origin=origin)
