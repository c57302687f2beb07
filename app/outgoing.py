"""Unread output of connections, with a write deadline for each and a limit for all together."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from app.callers import Caller, address_of

MAX_UNSENT_BYTES = 256 * 2**20
"""The most unread bytes of all clients together.

Past it, connections of the client that most waits for are reset, the largest first.
"""

MIN_STEP_BYTES = 8 * 1024
"""The bytes that a client must read within the deadline, unless fewer wait: about 270 bytes/s by default."""

STEP_FRACTION = 10
"""A client must read this fraction of the unread bytes within the deadline: a slow one cannot hold megabytes long."""

SWEEP_SECONDS = 1.0


class Outgoing:
    """A transport that counts what is written to it. Everything else is the transport's own.

    Args:
        transport: the transport.

    Attributes:
        on_close: called instead of the transport's ``close``.
        is_finishing: whether nothing more may be written, though the transport is not closing yet.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.inner = transport
        self.on_close: Callable[[], None] = transport.close
        self.is_finishing = False
        self._written = 0
        self._since: float | None = None
        self._taken_then = self._due = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until they can be sent."""
        self._written += len(data)
        self.inner.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        self.on_close()

    def reset(self) -> None:
        """Close at once and free the unread bytes, also in the kernel, which would try for minutes to send them."""
        connection: socket.socket = self.inner.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.inner.abort()

    def is_closing(self) -> bool:
        """Whether writing is over."""
        return self.is_finishing or self.inner.is_closing()

    def stalled(self, now: float) -> tuple[int, float]:
        """Check the unread bytes.

        Args:
            now: the loop's time, in seconds.

        Returns:
            How many bytes wait, and for how many seconds the client has not taken enough of them.
        """
        waiting = self.inner.get_write_buffer_size()
        if not waiting:
            self._since = None
            return 0, 0.0
        taken = self._written - waiting
        if self._since is None or taken - self._taken_then >= self._due:
            self._since, self._taken_then = now, taken
            self._due = min(waiting, max(MIN_STEP_BYTES, waiting // STEP_FRACTION))
        return waiting, now - self._since


class Unsent:
    """Checks the unread bytes of each connection every second, and aborts connections whose clients do not read.

    Aborting frees what waits, and the application gets a disconnect.

    Args:
        connections: the server's connections, WebSockets too: protocols, with an ``Outgoing`` as ``transport``.
        seconds: the deadline for a client to take its share (``MIN_STEP_BYTES``, ``STEP_FRACTION``) of what waits.
        limit: the most bytes that may wait on all connections.
    """

    def __init__(self, connections: Iterable[Any], *, seconds: float, limit: int = MAX_UNSENT_BYTES) -> None:
        self._connections = connections
        self._seconds = seconds
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Check every second until there are no connections."""
        if self._timer is None:
            period = min(SWEEP_SECONDS, self._seconds / 4)
            self._timer = asyncio.get_running_loop().call_later(period, self.sweep)

    def sweep(self) -> None:
        """Reset the connections whose clients do not read, and look again later."""
        self._timer = None
        now, waiting = asyncio.get_running_loop().time(), []
        connections = [one for one in self._connections if isinstance(one.transport, Outgoing)]
        for connection in connections:
            unsent, stalled = connection.transport.stalled(now)
            if stalled >= self._seconds:
                connection.transport.reset()
            elif unsent:
                waiting.append((unsent, connection))
        if sum(unsent for unsent, _ in waiting) > self._limit:
            self._shed(waiting)
        if connections:
            self.watch()

    def _shed(self, waiting: list[tuple[int, Any]]) -> None:
        """Abort connections until the total is within the limit, first the largest of the owner with most bytes."""
        held: Counter[str] = Counter()
        by_owner: dict[str, list[tuple[int, Any]]] = {}
        for unsent, connection in sorted(waiting, key=lambda one: one[0]):
            owner = owner_of(connection)
            held[owner] += unsent
            by_owner.setdefault(owner, []).append((unsent, connection))
        while held.total() > self._limit:
            [(owner, _)] = held.most_common(1)
            unsent, connection = by_owner[owner].pop()
            held[owner] -= unsent
            connection.transport.reset()


def owner_of(connection: Any) -> str:
    """Return the owner of a connection: that of its newest request, else the client's address."""
    cycle = getattr(connection, "cycle", None)
    scope = (cycle.scope if cycle is not None else getattr(connection, "scope", None)) or {}
    caller: Caller | None = scope.get("state", {}).get("caller")
    return address_of(scope) if caller is None else caller.owner.id
