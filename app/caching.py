"""Opens the cache of the services' records."""

import asyncio
from contextlib import AsyncExitStack

from app.cache_metrics import CacheMetrics
from app.setting_kinds import OnOff
from app.settings import Settings
from app.telemetry import Telemetry
from clients.state.cache_store import cache_store
from clients.state.shared import SharedState
from resolvers.cache.policy import Cache


def open_cache(settings: Settings, telemetry: Telemetry, state: SharedState, stack: AsyncExitStack) -> Cache | None:
    """Return the cache, or ``None`` if the cache is off. Closing ``stack`` closes the cache."""
    if settings.cache is OnOff.OFF:
        return None
    metrics = CacheMetrics(telemetry.registry)
    cache = Cache(cache_store(state, stack), metrics, memory=settings.cache_memory_bytes)
    metrics.watch_memory(lambda: cache.memory)
    stack.push_async_callback(cache.aclose)
    expiring = asyncio.create_task(cache.run())

    async def stop() -> None:
        expiring.cancel()
        await asyncio.wait([expiring])

    stack.push_async_callback(stop)
    return cache
