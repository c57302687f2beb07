"""Routes stand before the lifespan, and what answers them is opened by it: the gate is where the two meet."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.doors import Doors


class Gate:
    """Routes that exist before the lifespan, and find what it opened when they are called."""

    def __init__(self) -> None:
        self.graphql: ASGIApp | None = None
        self.socket: ASGIApp | None = None
        self.rest: ASGIApp | None = None
        self.doors: Doors | None = None


class Handover:
    """An ASGI application that hands over to the one that the gate has by that name."""

    def __init__(self, gate: Gate, name: str) -> None:
        self._gate = gate
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, once the lifespan has begun."""
        await getattr(self._gate, self._name)(scope, receive, send)
