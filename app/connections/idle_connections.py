"""Limits the number of connections and the size of incomplete request headers.

If a limit is exceeded, the gateway closes the connection that has waited longest.
"""

from __future__ import annotations

import resource
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

_SUFFICIENT_FILES = 65_536

MAX_HEADS_BYTES = 64 * 2**20
"""Maximum total size of all connections' incomplete request headers, in bytes."""


class Closable(Protocol):
    """A connection that waits for a request's headers."""

    def close_idle(self) -> None:
        """Close the connection."""


class IdleConnections:
    """Tracks and limits the connections that wait for a request's headers.

    Args:
        heads: the maximum total size of incomplete headers, in bytes. The default is ``MAX_HEADS_BYTES``.
    """

    def __init__(self, connections: Collection[object], limit: int, heads: int | None = None) -> None:
        self._connections = connections
        self._limit = limit
        self._heads_limit = MAX_HEADS_BYTES if heads is None else heads
        self._waiting: dict[Closable, None] = {}
        self._heads: dict[Closable, int] = {}
        self._held = 0

    def add(self, one: Closable) -> None:
        """Add a connection that begins to wait for a request."""
        self._waiting[one] = None

    def remove(self, one: Closable) -> None:
        """Remove a connection that is no longer idle."""
        self._waiting.pop(one, None)
        self._held -= self._heads.pop(one, 0)

    def hold_head(self, one: Closable, size: int) -> None:
        """Record the number of header bytes that a connection has received.

        If all incomplete headers together are too large, close the connection with the oldest headers.
        """
        self._held += size - self._heads.get(one, 0)
        self._heads[one] = size
        while self._held > self._heads_limit:
            self._close(next(iter(self._heads)))

    def make_room(self) -> None:
        """If there are too many connections, close the connection with the longest idle time."""
        if len(self._connections) > self._limit and self._waiting:
            self._close(next(iter(self._waiting)))

    def _close(self, one: Closable) -> None:
        self.remove(one)
        one.close_idle()


def connections_possible(configured: int) -> int:
    """Return how many connections the process can serve.

    The result is the smaller of ``configured`` and three quarters of the process's limit on open files.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return configured if files == resource.RLIM_INFINITY else max(1, min(configured, files * 3 // 4))


def open_more_files() -> None:
    """Raise the process's soft limit on open files.

    The usual soft limit is 1,024, because programs that call ``select`` need it.
    """
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _SUFFICIENT_FILES if most == resource.RLIM_INFINITY else min(most, _SUFFICIENT_FILES)
    if files != resource.RLIM_INFINITY and files < target:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, most))
