"""The operations port: a second listener for probes and metrics, which the public network need not reach."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.drain import Drain
from app.embedded.server import StoppableServer
from app.endpoints import Endpoints
from app.middleware import HeadAsGet, RequestScope, Shield
from app.operators import Details, add_operators_routes
from app.security_headers import SecurityHeaders
from app.server import protocol
from app.settings import Settings
from app.telemetry import Telemetry


def operations_app(endpoints: Endpoints, telemetry: Telemetry, drain: Drain) -> ASGIApp:
    """Return an application with ``/ping``, ``/readyz``, detailed ``/health``, and ``/metrics``. It has no CORS."""
    api = FastAPI(openapi_url=None, redirect_slashes=False)
    add_operators_routes(api, endpoints, Details.SHOWN)
    app = HeadAsGet(Shield(api, telemetry=telemetry, drain=drain))
    return RequestScope(app, telemetry=telemetry, drain=drain, security=SecurityHeaders(hsts_seconds=0))


class OperationsPort:
    """Serves an application on a second listening socket, in the running event loop.

    Args:
        listener: a socket that already listens, so that a taken port stops the start.
    """

    def __init__(self, app: ASGIApp, settings: Settings, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=protocol(settings),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._listener = listener
        self._server = StoppableServer(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept connections."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        await self._server.is_up.wait()

    async def stop(self) -> None:
        """Close the listening socket and all connections."""
        if self._task is not None:
            self._server.force_exit = True
            self._server.stop()
            await self._task
