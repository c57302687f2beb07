"""Chooses the store of the cache."""

from contextlib import AsyncExitStack

from clients.state.cache import CacheStore, MemoryCacheStore
from clients.state.shared import SharedState


def cache_store(state: SharedState, stack: AsyncExitStack) -> CacheStore:
    """Return the store of the cache, in Redis or in memory. Closing ``stack`` closes the store."""
    if state.connection is None:
        return MemoryCacheStore()
    from clients.state.redis_cache import RedisCacheStore  # noqa: PLC0415 - redis-py is imported only if it is used

    store = RedisCacheStore(state.connection)
    stack.push_async_callback(store.aclose)
    return store
