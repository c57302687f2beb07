"""Redis (or Valkey): reached by redis-py. So far only asked whether it is there."""

from __future__ import annotations

from contextlib import AsyncExitStack

import redis.asyncio
from redis.exceptions import RedisError

from clients.calls import CallScope
from clients.errors import Service, UpstreamUnavailable
from clients.health import HealthCheck

_SECONDS = 2.0


async def redis_check(url: str, password: str | None, stack: AsyncExitStack) -> HealthCheck:
    """The health check of the Redis at ``url``, whose connection ``stack`` closes."""
    client = redis.asyncio.Redis.from_url(
        url, password=password, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
    )
    stack.push_async_callback(client.aclose)

    async def ping(scope: CallScope) -> None:  # noqa: ARG001 - bounded by the socket's own timeout
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            raise UpstreamUnavailable("Redis cannot be reached.", reason="CONNECT", service=Service.REDIS) from error

    return HealthCheck(service=Service.REDIS, ping=ping, breaker_state=lambda: None, note=lambda: None, embedded=False)
