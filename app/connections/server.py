"""The HTTP server of ``agentgraph serve``: uvicorn with limits on clients.

Connections, requests and unread data are limited.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.admission import Admission
from app.client_address import locator, with_client_address
from app.connections.gated import Gate, GatedConnection
from app.connections.idle_connections import IdleConnections, connections_possible
from app.connections.outgoing import Unsent
from app.connections.socket import BoundedSocket
from app.pacing import StepPacer
from app.settings import Settings

KEEP_ALIVE_SECONDS = 5
"""The timeout of an idle connection after an answer, in seconds."""


def protocol(settings: Settings, gate: Gate | None = None) -> type[GatedConnection]:
    """Return a class for one server's HTTP connections. The connections share limits.

    Args:
        settings: the settings.
        gate: admits requests; ``None`` if the application admits them.
    """
    locate = locator(settings.forwarded_allow_ips)
    shared: dict[str, Any] = {"head_seconds": settings.request_timeout, "gate": gate, "locate": locate}

    class BoundedConnection(GatedConnection):
        def __init__(self, *args: Any, server_state: ServerState, **options: Any) -> None:
            if "unsent" not in shared:
                connections = server_state.connections
                shared["unsent"] = Unsent(connections, seconds=settings.write_timeout_seconds)
                shared["idle"] = IdleConnections(connections, connections_possible(settings.max_connections))
            options |= shared
            super().__init__(*args, server_state=server_state, **options)

    return BoundedConnection


def socket_protocol() -> type[BoundedSocket]:
    """Return a class for one server's WebSocket connections. The connections share a ``StepPacer``."""

    class Socket(BoundedSocket):
        pacer = StepPacer()

    return Socket


def _located(app: Any, settings: Settings) -> Any:
    """Return an application whose scopes have the clients' addresses.

    A connection with a gate has already set the address of each HTTP request.
    """
    if not isinstance(app, Admission):
        return with_client_address(app, settings.forwarded_allow_ips)
    locate = locator(settings.forwarded_allow_ips)

    def located(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket":
            locate(scope)
        return app.serve(scope, receive, send)

    return located


def server_config(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration."""
    return uvicorn.Config(
        _located(app, settings),
        interface="asgi3",
        proxy_headers=False,
        http=protocol(settings, app if isinstance(app, Admission) else None),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ws_ping_interval=settings.stream_heartbeat_seconds,
        ws_ping_timeout=settings.stream_heartbeat_seconds,
        ws=socket_protocol(),
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,
        **options,
    )
