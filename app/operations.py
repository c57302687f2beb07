"""The operations port: a second listener for probes and metrics, which the public network need not reach."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app.connections.accepting import Acceptor
from app.connections.server import protocol
from app.connections.stoppable import StoppableServer
from app.drain import Drain
from app.endpoints import Endpoints
from app.middleware import Edge
from app.operators import Details, operators_routes
from app.response_headers import ResponseHeaders
from app.settings import Settings
from app.telemetry import Telemetry


def operations_app(endpoints: Endpoints, telemetry: Telemetry, drain: Drain) -> ASGIApp:
    """Return an application with ``/ping``, ``/readyz``, detailed ``/health``, and ``/metrics``. It has no CORS."""
    api = Starlette(routes=operators_routes(endpoints, Details.SHOWN))
    api.router.redirect_slashes = False
    return Edge(api, telemetry=telemetry, drain=drain, headers=ResponseHeaders())


class OperationsPort:
    """Serves an application on a second listening socket, in the running event loop.

    Args:
        listener: a socket that already listens, so that a taken port stops the start.
    """

    def __init__(self, app: ASGIApp, settings: Settings, listener: socket.socket) -> None:
        protocol_class = protocol(settings)
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=protocol_class,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._listener = listener
        self._server = server = StoppableServer(config)
        kind: Any = protocol_class
        self._acceptor = Acceptor([], lambda: kind(config=config, server_state=server.server_state, app_state={}))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept connections."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        await self._server.is_up.wait()

    def take(self, accepted: list[socket.socket]) -> None:
        """Serve connections that have been accepted before the start."""
        self._acceptor.take(accepted)

    async def stop(self) -> None:
        """Close the listening socket and all connections."""
        if self._task is not None:
            self._server.force_exit = True
            self._server.stop()
            await self._task
