"""What every door is given: who may come in, and what a request is answered with."""

from __future__ import annotations

from dataclasses import dataclass

from app.auth import Authenticator
from app.graphql.engine import Engine
from app.telemetry import Telemetry
from resolvers.context import RequestContext, Resources
from resolvers.principal import Principal


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The process as its doors see it. ``open_introspection`` lets anybody read the schema (outside production)."""

    engine: Engine
    authenticator: Authenticator
    resources: Resources
    telemetry: Telemetry
    open_introspection: bool
    max_body_bytes: int
    metrics_token: str | None

    def principal_or_none(self, authorization: str | None) -> Principal | None:
        """The principal of a request; ``None`` without a token. Raises Unauthenticated for a bad one."""
        return None if authorization is None else self.authenticator.principal(authorization)

    def context(self, principal: Principal | None, request_id: str, traceparent: str | None = None) -> RequestContext:
        """A context for one operation."""
        return RequestContext(self.resources, principal, request_id, traceparent)
