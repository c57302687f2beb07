"""The loader under every batched or repeated read of one operation.

aiodataloader shares one future per key: cancelling one waiter cancels them all, and the cancelled future stays
cached. Here every waiter waits behind a shield, and a key that failed or was cancelled is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar, cast

from aiodataloader import DataLoader

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Loader(Generic[K, V]):
    """Loads each key once per operation, keys of the same tick together.

    ``batch`` answers one value, or one exception, per key and in their order.
    """

    def __init__(self, batch: Callable[[list[K]], Awaitable[list[V | Exception]]], *, max_batch: int = 100) -> None:
        self._inner: Any = DataLoader(batch_load_fn=cast("Any", batch), max_batch_size=max_batch)
        self._watched: set[asyncio.Future[V]] = set()

    async def load(self, key: K) -> V:
        """The value of ``key``; raises what the batch answered for it."""
        shared: asyncio.Future[V] = self._inner.load(key)
        if shared not in self._watched and not shared.done():
            self._watched.add(shared)
            shared.add_done_callback(lambda done: self._settle(key, done))
        return await asyncio.shield(shared)

    def prime(self, key: K, value: V) -> None:
        """Keep a value that came by another way, if there is none yet."""
        self._inner.prime(key, value)

    def _settle(self, key: K, done: asyncio.Future[V]) -> None:
        self._watched.discard(done)
        if done.cancelled() or done.exception() is not None:
            self._inner.clear(key)


def each(load: Callable[[K], Awaitable[V]]) -> Callable[[list[K]], Awaitable[list[V | Exception]]]:
    """A batch function for an upstream that takes one id per call: one call per key, side by side."""

    async def batch(keys: list[K]) -> list[V | Exception]:
        return await settled(load(key) for key in keys)

    return batch


async def settled(calls: Iterable[Awaitable[V]]) -> list[V | Exception]:
    """All results, failures in their place; anything that is no ``Exception`` (a cancellation) goes up."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return cast("list[V | Exception]", results)
