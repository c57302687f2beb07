"""Endpoints that the application's routes can refer to before the gateway is open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.gateway import Gateway
from app.rest.table import is_rest

READY = "ready"
"""The status of a process that accepts requests."""


class Deferred:
    """An ASGI application that forwards requests to ``app``, which the lifespan sets."""

    __slots__ = ("app",)

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if self.app is None:
            raise RuntimeError("a request arrived before the lifespan has begun")
        return self.app(scope, receive, send)


class Endpoints:
    """The endpoints and their gateway.

    Attributes:
        graphql: ``/graphql`` over HTTP.
        socket: ``/graphql`` over WebSocket.
        rest: ``/v1``, and the proxy for agents.
        issuer: ``/auth/v1``, the embedded Supabase, if development tokens are accepted.
        gateway: the gateway; ``None`` before the startup has ended.
        metrics: returns the metrics of all processes of the gateway, in Prometheus' text format.
    """

    def __init__(self) -> None:
        self.graphql = Deferred()
        self.socket = Deferred()
        self.rest = Deferred()
        self.issuer = Deferred()
        self.gateway: Gateway | None = None
        self.metrics: Callable[[], Awaitable[bytes]] = _no_metrics

    @property
    def status(self) -> str:
        """Return ``starting``, ``READY`` or ``draining``."""
        if self.gateway is None:
            return "starting"
        return READY if self.gateway.drain.is_open else "draining"


async def _no_metrics() -> bytes:
    return b""


class Router:
    """Serves ``/graphql``, ``/v1/*`` and the proxy for agents. Starlette serves every other path.

    Starlette's routing adds a dozen coroutines to each request. A stream would keep the coroutines in memory.
    """

    def __init__(self, app: ASGIApp, *, graphql: ASGIApp, socket: ASGIApp, rest: ASGIApp) -> None:
        self._app = app
        self._graphql = {"http": graphql, "websocket": socket}
        self._rest = rest

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        kind, app = scope["type"], self._app
        if kind != "lifespan":
            path = scope["path"]
            if path == "/graphql":
                app = self._graphql[kind]
            elif kind == "http" and is_rest(path):
                app = self._rest
        return app(scope, receive, send)
