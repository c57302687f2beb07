"""The health check of Redis or Valkey. The gateway makes no other call to the service."""

import asyncio
import time
from contextlib import AsyncExitStack

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from clients.calls import CallScope
from clients.codes import Reason
from clients.errors import Service, UpstreamUnavailable
from clients.health import HealthCheck

_SECONDS = 2.0
_RETRIES = 2


def redis_client(url: str, password: str | None) -> redis.asyncio.Redis:
    """Return a Redis client. The client reconnects if Redis has closed an idle connection."""
    retry = Retry(ExponentialBackoff(cap=0.1, base=0.01), _RETRIES, supported_errors=(RedisConnectionError,))
    return redis.asyncio.Redis.from_url(
        url, password=password, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, retry=retry
    )


def is_usable(url: str) -> bool:
    """Return whether redis-py accepts a URL. The function opens no connection."""
    try:
        redis_client(url, None).connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, TypeError, ValueError):
        return False
    return True


async def redis_check(url: str, password: str | None, stack: AsyncExitStack) -> HealthCheck:
    """Return a health check of a Redis server. Closing ``stack`` closes the connection to Redis."""
    client = redis_client(url, password)
    stack.push_async_callback(client.aclose)

    async def ping(scope: CallScope) -> None:
        try:
            async with asyncio.timeout(min(_SECONDS, scope.deadline - time.monotonic())):
                await client.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise UpstreamUnavailable(
                "The gateway cannot connect to Redis. Check REDIS_URL.", reason=Reason.CONNECT, service=Service.REDIS
            ) from error

    return HealthCheck(service=Service.REDIS, ping=ping, breakers=None, note=lambda: None, embedded=False)
