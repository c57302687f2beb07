"""A uvicorn server that a task of another server starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class StoppableServer(uvicorn.Server):
    """A uvicorn server that handles no signals, sets ``is_up`` when it listens, and stops without delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Make the main loop end before its next tick."""
        self.should_exit = True
        self._wake.set()

    async def main_loop(self) -> None:
        """Run until the server is stopped."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._wake.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close listeners and connections. If no connection is open, uvicorn's delay is skipped."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        if self.force_exit:
            await self._abort()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown()  # takes at least 0.1 s
        else:
            await self.lifespan.shutdown()

    async def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            if (transport := getattr(connection, "transport", None)) is not None:
                transport.abort()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and set ``is_up``."""
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield
