"""A connection to a Redis of tests, and a record of its status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clients.state.connection import RedisConnection
from clients.state.errors import StateCause
from clients.state.status import StateStatus


class Seen:
    """Records what a connection reports to operators."""

    def __init__(self) -> None:
        self.changes: list[tuple[StateStatus, StateCause | None]] = []
        self.pipelines: list[int] = []
        self.failures: list[StateCause] = []

    def state_changed(self, status: StateStatus, cause: StateCause | None) -> None:
        self.changes.append((status, cause))

    def state_commands(self, count: int, seconds: float) -> None:
        self.pipelines.append(count)

    def state_failed(self, cause: StateCause, commands: int) -> None:
        self.failures += [cause] * commands


@asynccontextmanager
async def connected(url: str, seen: Seen | None = None) -> AsyncIterator[RedisConnection]:
    """Open a connection to Redis until the context ends."""
    connection = RedisConnection(url, None, seen or Seen())
    try:
        yield connection
    finally:
        await connection.aclose()
