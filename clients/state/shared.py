"""The shared state of one process: a connection to Redis, or the process's memory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clients.calls import CallScope
from clients.codes import Reason
from clients.errors import Service, UpstreamUnavailable
from clients.health import HealthCheck
from clients.state.errors import StateUnavailable
from clients.state.news import MemoryNews, News
from clients.state.status import StateObserver

if TYPE_CHECKING:
    from clients.state.connection import RedisConnection


@dataclass(frozen=True, slots=True)
class SharedState:
    """What a process shares with other replicas. ``connection`` is ``None`` if the state is in process memory."""

    news: News
    connection: RedisConnection | None = None


def memory_state() -> SharedState:
    """Return the state of a process that shares nothing."""
    return SharedState(MemoryNews())


async def redis_state(url: str, password: str | None, observer: StateObserver, stack: AsyncExitStack) -> SharedState:
    """Return the state of a process that shares its state in Redis. Closing ``stack`` closes the connections."""
    from clients.state.connection import RedisConnection  # noqa: PLC0415 - redis-py is imported only if it is used
    from clients.state.redis_news import RedisNews  # noqa: PLC0415

    connection = RedisConnection(url, password, observer)
    stack.push_async_callback(connection.aclose)
    news = RedisNews(connection)
    stack.push_async_callback(news.aclose)
    return SharedState(news, connection)


def redis_check(connection: RedisConnection) -> HealthCheck:
    """Return the health check of Redis."""

    async def ping(_: CallScope) -> None:
        try:
            await connection.ping()
        except StateUnavailable as error:
            raise UpstreamUnavailable(
                "The gateway cannot use Redis. Check REDIS_URL.", reason=Reason.CONNECT, service=Service.REDIS
            ) from error

    return HealthCheck(service=Service.REDIS, ping=ping, breakers=None, note=lambda: None, embedded=False)
