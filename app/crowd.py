"""The limit on connections: past it, the connection that has been idle longest is closed for a new one."""

from __future__ import annotations

import resource
from collections.abc import Collection
from contextlib import suppress
from typing import Protocol

_WANTED_FILES = 65_536


class Waiting(Protocol):
    """A connection."""

    def give_way(self) -> None:
        """Close: no request of it is under way."""


class Crowd:
    """The connections that wait for a request or its head, the longest first.

    Args:
        connections: all of the server's.
        limit: how many there may be.
    """

    def __init__(self, connections: Collection[object], limit: int) -> None:
        self._connections = connections
        self._limit = limit
        self._waiting: dict[Waiting, None] = {}

    def join(self, one: Waiting) -> None:
        """Wait from now on."""
        self._waiting[one] = None

    def leave(self, one: Waiting) -> None:
        """Wait no longer."""
        self._waiting.pop(one, None)

    def make_room(self) -> None:
        """Close the connection that has waited longest where there are too many: the newest, if no other waits."""
        if len(self._connections) > self._limit and self._waiting:
            longest = next(iter(self._waiting))
            self.leave(longest)
            longest.give_way()


def connections_possible(wanted: int) -> int:
    """Return ``wanted``, or three quarters of the files that the process may open where that is less."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if files == resource.RLIM_INFINITY else max(1, min(wanted, files * 3 // 4))


def open_more_files() -> None:
    """Raise the soft limit on open files towards the hard one: many systems have 1,024 for the sake of ``select``."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if most == resource.RLIM_INFINITY else min(most, _WANTED_FILES)
    if files != resource.RLIM_INFINITY and files < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
