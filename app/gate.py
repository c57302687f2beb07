"""Routes stand before the lifespan, and what answers them is opened by it: the gate is where the two meet."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.doors import Doors
from app.rest.table import is_rest


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

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, once the lifespan has begun."""
        app: ASGIApp = getattr(self._gate, self._name)
        return app(scope, receive, send)


class HotDoors:
    """Serves ``/graphql``, ``/v1/*`` and the proxy itself, and leaves every other address to FastAPI.

    FastAPI's routing costs each request a dozen coroutines, which a stream would hold to its end.
    """

    def __init__(self, app: ASGIApp, *, graphql: ASGIApp, socket: ASGIApp, rest: ASGIApp) -> None:
        self._app = app
        self._graphql = {"http": graphql, "websocket": socket}
        self._rest = rest

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request or socket."""
        kind, app = scope["type"], self._app
        if kind != "lifespan":
            path = scope["path"]
            if path == "/graphql":
                app = self._graphql[kind]
            elif kind == "http" and is_rest(path):
                app = self._rest
        return app(scope, receive, send)
