"""Accepts waiting connections in batches while the event loop is busy.

uvloop accepts one connection per loop iteration. A busy loop has few iterations per second, so a health check's new
connection would wait for seconds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

INTERVAL_SECONDS = 0.05
"""The time between two batches of accepted connections, in seconds."""

MAX_ACCEPTED = 64
"""Maximum number of connections that one batch accepts."""


class Acceptor:
    """Accepts waiting connections at a fixed interval.

    The sockets must be non-blocking, because the event loop accepts connections on these sockets too.
    """

    def __init__(self, listeners: list[socket.socket], make_protocol: Callable[[], asyncio.Protocol]) -> None:
        self._listeners = listeners
        self._make_protocol = make_protocol
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        """Begin to accept connections."""
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_SECONDS, self._accept)

    def stop(self) -> None:
        """Stop accepting connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take(self, accepted: list[socket.socket]) -> None:
        """Serve connections that have been accepted. The sockets must be non-blocking."""
        loop = asyncio.get_running_loop()
        for one in accepted:
            task = loop.create_task(_connect(loop, self._make_protocol, one))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    def _accept(self) -> None:
        for listener in self._listeners:
            for _ in range(MAX_ACCEPTED):
                try:
                    accepted, _ = listener.accept()
                except OSError:  # no connection waits, or no file descriptor is free
                    break
                accepted.setblocking(False)
                self.take([accepted])
        self.start()


async def _connect(
    loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], asyncio.Protocol], accepted: socket.socket
) -> None:
    try:
        await loop.connect_accepted_socket(make_protocol, accepted)
    except OSError:
        accepted.close()
