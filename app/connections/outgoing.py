"""Resets the connections of clients that do not read their responses.

Each client has a write timeout, and the unread bytes of all clients together are limited.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from app.identity import Identity, address_of

MAX_UNSENT_BYTES = 256 * 2**20
"""Maximum number of unread bytes of all clients together.

Above this number, the gateway resets connections of the client with the most unread bytes.
"""

MIN_STEP_BYTES = 8 * 1024
"""Minimum number of bytes that a client must read within the write timeout.

If fewer bytes are unread, the client must read all of them.
"""

STEP_FRACTION = 10
"""A client must read at least 1/``STEP_FRACTION`` of its unread bytes within the write timeout."""

SWEEP_SECONDS = 1.0

MAX_JOINED_BYTES = 16 * 1024
"""The number of bytes from which writes are not joined, because a copy would take longer than a system call."""


class Outgoing:
    """Wraps an asyncio transport (``inner``), counts the written bytes, and joins small writes.

    uvloop makes a system call for each write. ``Outgoing`` joins the writes of one event loop iteration, and sends them
    in the next iteration.

    Attributes:
        on_close: called instead of the transport's ``close``.
        is_finishing: whether writing has ended although the transport is still open.
    """

    __slots__ = (
        "_call_soon",
        "_due",
        "_joined",
        "_joined_bytes",
        "_read_then",
        "_since",
        "_written",
        "inner",
        "is_finishing",
        "on_close",
    )

    def __init__(self, transport: asyncio.Transport, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self.inner = transport
        self.on_close: Callable[[], None] = transport.close
        self.is_finishing = False
        self._call_soon = call_soon
        self._joined: list[bytes] = []
        self._joined_bytes = 0
        self._written = 0
        self._since: float | None = None
        self._read_then = self._due = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: bytes) -> None:
        """Write bytes to the transport, at the latest in the event loop's next iteration."""
        self._written += len(data)
        if not self._joined and len(data) >= MAX_JOINED_BYTES:
            self.inner.write(data)
            return
        self._joined.append(data)
        self._joined_bytes += len(data)
        if self._joined_bytes >= MAX_JOINED_BYTES:
            self.flush()
        elif len(self._joined) == 1:
            self._call_soon(self.flush)

    def flush(self) -> None:
        """Pass the joined writes to the transport."""
        joined = self._joined
        if joined:
            self._joined, self._joined_bytes = [], 0
            if not self.inner.is_closing():
                self.inner.write(joined[0] if len(joined) == 1 else b"".join(joined))

    def close(self) -> None:
        """Call ``on_close``, which by default closes the transport."""
        self.flush()
        self.on_close()

    def close_inner(self) -> None:
        """Close the transport after all data is sent."""
        self.flush()
        self.inner.close()

    def write_eof(self) -> None:
        """Close the sending direction after all data is sent."""
        self.flush()
        self.inner.write_eof()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that have not been passed to the kernel."""
        return self._joined_bytes + self.inner.get_write_buffer_size()

    def reset(self) -> None:
        """Reset the TCP connection, and discard all unsent bytes, including the bytes in the kernel's buffer."""
        connection: socket.socket = self.inner.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.inner.abort()

    def is_closing(self) -> bool:
        """Return whether the transport accepts no more bytes."""
        return self.is_finishing or self.inner.is_closing()

    def stalled(self, now: float) -> tuple[int, float]:
        """Return the number of unread bytes, and for how many seconds the client has read too slowly."""
        waiting = self.get_write_buffer_size()
        if not waiting:
            self._since = None
            return 0, 0.0
        read = self._written - waiting
        if self._since is None or read - self._read_then >= self._due:
            self._since, self._read_then = now, read
            self._due = min(waiting, max(MIN_STEP_BYTES, waiting // STEP_FRACTION))
        return waiting, now - self._since


class Unsent:
    """Resets the connections of clients that do not read their responses.

    Args:
        connections: the server's connections and WebSockets. Each ``transport`` is an ``Outgoing``.
        seconds: the write timeout.
    """

    def __init__(self, connections: Iterable[Any], *, seconds: float, limit: int = MAX_UNSENT_BYTES) -> None:
        self._connections = connections
        self._seconds = seconds
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Schedule the next check of all connections, if no check is scheduled."""
        if self._timer is None:
            period = min(SWEEP_SECONDS, self._seconds / 4)
            self._timer = asyncio.get_running_loop().call_later(period, self.sweep)

    def sweep(self) -> None:
        """Reset the connections of clients that do not read their responses."""
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
        """Reset connections until the number of unread bytes is within the limit.

        Each time, reset the largest connection of the owner with the most unread bytes.
        """
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
    """Return the owner of a connection's newest request. If the owner is unknown, return the client's address."""
    cycle = getattr(connection, "cycle", None)
    scope = (cycle.scope if cycle is not None else getattr(connection, "scope", None)) or {}
    identity: Identity | None = scope.get("state", {}).get("identity")
    return address_of(scope) if identity is None else identity.owner.id
