"""What every door is given: who may come in, and what a request is answered with."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Receive, Scope

from app.asgi import read_body
from app.auth import Authenticator
from app.drain import Drain
from app.graphql.engine import Engine
from app.json_text import values_in
from app.slots import Slots
from app.telemetry import Telemetry
from clients.origin import Origin
from resolvers.context import RequestContext
from resolvers.principal import Principal
from resolvers.resources import Resources
from resolvers.streams.log import Leave

LETTA_BODY_SECONDS = 5.0
"""How long Letta, which is near, may take to send a body: what one agent secret may begin in that time (see the proxy's
rate limit) fills a fraction of the room for requests of Letta's."""

SMALL_CHARS = 16 * 1024
"""A shorter JSON text is parsed in well under a millisecond."""

VALUES_PER_FIELD = 50
"""How many values of a JSON text are parsed in the time in which one field of an answer is completed, about."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The process as its gateway see it.

    ``open_introspection`` lets anybody read the schema (outside production); ``open_metrics`` lets anybody read metrics
    and the details of health where there is no ``metrics_token``. ``fault_page`` is where the embedded services' fault
    switch is, on this machine.
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

    @property
    def heartbeat(self) -> float:
        """How often a quiet connection shows that it is alive, in seconds."""
        return self.resources.streams.limits.heartbeat

    async def body(self, scope: Scope, receive: Receive, *, origin: Origin = Origin.USER) -> bytes:
        """A request's body, within the bounds on size and time, when it may be parsed. See ``read_body``, ``turn``."""
        seconds = self.resources.clocks.request
        if origin is Origin.LETTA:
            seconds = min(seconds, LETTA_BODY_SECONDS)
        hold = scope["state"]["slot"].hold_body
        body = await read_body(scope, receive, hold, limit=self.max_body_bytes, seconds=seconds)
        await self.turn(body)
        return body

    async def turn(self, text: bytes | str) -> None:
        """Wait until a JSON text may be parsed: many that arrive at once would hold the loop together."""
        if len(text) > SMALL_CHARS:
            await self.engine.turns.wait()
            self.engine.turns.take(values_in(text) // VALUES_PER_FIELD)

    def principal(self, authorization: str | None) -> Principal | None:
        """The principal of a request; ``None`` only without a token, where introspection is open to anybody.

        Raises:
            Unauthenticated: see ``Authenticator.principal``.
        """
        if authorization is None and self.open_introspection:
            return None
        return self.authenticator.principal(authorization)

    def context(
        self,
        principal: Principal | None,
        request_id: str,
        traceparent: str | None = None,
        leave: Leave | None = None,
        *,
        origin: Origin = Origin.USER,
    ) -> RequestContext:
        """A context for one operation."""
        return RequestContext(self.resources, principal, request_id, traceparent, leave, origin=origin)
