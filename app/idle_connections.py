"""Limits on idle connections. Beyond a limit, the connection that has waited longest is closed."""

from __future__ import annotations

import resource
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

_WANTED_FILES = 65_536

MAX_HEADS_BYTES = 64 * 2**20
"""The most bytes of incomplete heads of all connections."""


class Closable(Protocol):
    """A connection that waits for a request or its head."""

    def close_idle(self) -> None:
        """Close the connection."""


class IdleConnections:
    """The connections that wait for a request or its head, in the order of waiting.

    Args:
        connections: all connections of the server.
        limit: the most connections.
        heads: the most bytes of incomplete heads; by default ``MAX_HEADS_BYTES``.
    """

    def __init__(self, connections: Collection[object], limit: int, heads: int | None = None) -> None:
        self._connections = connections
        self._limit = limit
        self._heads_limit = MAX_HEADS_BYTES if heads is None else heads
        self._waiting: dict[Closable, None] = {}
        self._heads: dict[Closable, int] = {}
        self._held = 0

    def add(self, one: Closable) -> None:
        """Add a connection that begins to wait."""
        self._waiting[one] = None

    def remove(self, one: Closable) -> None:
        """Remove a connection that has received a head or closes."""
        self._waiting.pop(one, None)
        self._held -= self._heads.pop(one, 0)

    def hold_head(self, one: Closable, size: int) -> None:
        """Count the ``size`` bytes received of a head. If all heads exceed the limit, close the oldest."""
        self._held += size - self._heads.get(one, 0)
        self._heads[one] = size
        while self._held > self._heads_limit:
            self._close(next(iter(self._heads)))

    def make_room(self) -> None:
        """If there are too many connections, close the one that has waited longest for a request."""
        if len(self._connections) > self._limit and self._waiting:
            self._close(next(iter(self._waiting)))

    def _close(self, one: Closable) -> None:
        self.remove(one)
        one.close_idle()


def connections_possible(wanted: int) -> int:
    """Return ``wanted``, but at most three quarters of the limit on open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files * 3 // 4))


def open_more_files() -> None:
    """Raise the soft limit on open files towards the hard one. Many systems set 1,024, for ``select``."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if most == resource.RLIM_INFINITY else min(most, _WANTED_FILES)
    if files != resource.RLIM_INFINITY and files < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
