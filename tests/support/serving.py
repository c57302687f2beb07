"""Serve an ASGI application on a loopback port, with lifespan and WebSockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from app.connections.server import server_config
from app.connections.stoppable import StoppableServer
from app.settings import Settings


def free_port() -> int:
    """Return a loopback port that no socket uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def served(app: ASGIApp, settings: Settings, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve ``app`` as the command does and yield its URL."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((host, 0))
    listener.listen(1024)
    config = server_config(app, settings, lifespan="on", timeout_graceful_shutdown=1)
    server = StoppableServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    up = asyncio.create_task(server.is_up.wait())
    await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        up.cancel()
        task.result()
        raise RuntimeError("the application did not start")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.stop()
        await task
