"""A loader loads each key once per operation. Keys from one event loop tick form a batch.

In aiodataloader, cancelling one waiter of a key cancels all waiters of the key, and the cancelled future stays cached.
Here, cancelling one waiter does not affect the others, and a failed key is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from aiodataloader import DataLoader

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH = 100


class _Abandoned(Exception):
    """The result for a key that no task awaits any longer."""


@dataclass(eq=False, slots=True)
class _Pending(Generic[V]):
    """A key that is loading, and the number of tasks that await the key.

    ``batch`` is set when the key's batch begins.
    """

    shared: asyncio.Future[V]
    waiters: int = 0
    batch: _Batch[V] | None = None


@dataclass(eq=False, slots=True)
class _Batch(Generic[V]):
    task: asyncio.Task[Any] | None
    pending: list[_Pending[V]]

    @property
    def is_abandoned(self) -> bool:
        return not any(pending.waiters for pending in self.pending)


class _Batches(DataLoader[K, Any]):
    """The cached values of a loader.

    To avoid a reference cycle, this object refers to ``batch`` only while keys are loading.
    """

    def __init__(self, max_batch: int) -> None:
        super().__init__(max_batch_size=max_batch)
        self.pending: dict[K, _Pending[Any]] = {}
        self._batch: Callable[[list[K]], Awaitable[list[Any]]] | None = None

    def begin(self, key: K, pending: _Pending[Any], batch: Callable[[list[K]], Awaitable[list[Any]]]) -> None:
        """Add a key that the function ``batch`` will load."""
        self.pending[key] = pending
        self._batch = batch

    def get_cache_key(self, key: K) -> K:
        """Return the key unchanged. Without this method, aiodataloader creates a function for each loader."""
        return key

    async def batch_load_fn(self, keys: list[K]) -> list[Any]:
        """Load the values for one batch of keys."""
        pending = [self.pending[key] for key in keys]
        batch = _Batch(asyncio.current_task(), pending)
        if batch.is_abandoned:
            for key in keys:
                self.remove(key)
            return [_Abandoned() for _ in keys]
        for one in pending:
            one.batch = batch
        assert self._batch is not None  # noqa: S101 - keys are pending
        return await self._batch(keys)

    def finish(self, key: K) -> None:
        """Remove a loaded key from the pending keys."""
        del self.pending[key]
        if not self.pending:
            self._batch = None

    def remove(self, key: K) -> None:
        """Remove a key and its value, so that the next read loads the value again."""
        self.finish(key)
        self.clear(key)


class Loader(Generic[K, V]):
    """Loads values by key. ``batch`` returns a value or an exception for each key. ``inner`` caches the values."""

    __slots__ = ("_batch", "_inner", "_pending")

    def __init__(
        self,
        batch: Callable[[list[K]], Awaitable[list[V | Exception]]],
        *,
        max_batch: int = MAX_BATCH,
        inner: _Batches[K] | None = None,
    ) -> None:
        self._batch = batch
        self._inner: _Batches[K] = _Batches(max_batch) if inner is None else inner
        self._pending: dict[K, _Pending[V]] = self._inner.pending

    async def load(self, key: K) -> V:
        """Return the key's value, or raise the key's exception."""
        shared: asyncio.Future[V] = self._inner.load(key)
        if shared.done():
            return shared.result()
        pending = self._pending.get(key)
        if pending is None or pending.shared is not shared:
            pending = self._begin(key, shared)
        pending.waiters += 1
        try:
            return await asyncio.shield(shared)
        finally:
            pending.waiters -= 1
            if not shared.done():
                self._abandon(pending.batch)
            del shared, pending  # avoids a cycle: the future refers to the error, and the error to this frame

    def prime(self, key: K, value: V) -> None:
        """Cache a value for a key, unless the key already has a cached value."""
        self._inner.prime(key, value)

    def _abandon(self, batch: _Batch[V] | None) -> None:
        if batch is None or not batch.is_abandoned or batch.task is None:
            return
        for key in [key for key, pending in self._pending.items() if pending.batch is batch]:
            self._inner.remove(key)
        batch.task.cancel()
        batch.task = None  # avoids a cycle: the cancellation refers to the batch
        for pending in batch.pending:
            pending.shared.cancel()  # calls ``settle``

    def _begin(self, key: K, shared: asyncio.Future[V]) -> _Pending[V]:
        pending, inner = _Pending(shared), self._inner
        inner.begin(key, pending, self._batch)

        def settle(done: asyncio.Future[V]) -> None:
            pending.batch = None  # avoids a cycle
            failed = done.cancelled() or done.exception() is not None
            if inner.pending.get(key) is not pending:
                return
            if failed:
                inner.remove(key)
            else:
                inner.finish(key)

        shared.add_done_callback(settle)
        return pending


class Lazy(Generic[K, V]):
    """A descriptor that creates a loader at each access. A stored loader would form a reference cycle."""

    def __init__(
        self, batch: Callable[[Any, list[K]], Awaitable[list[V | Exception]]], *, max_batch: int = MAX_BATCH
    ) -> None:
        self._batch = batch
        self._max_batch = max_batch
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{name} loaded"

    def __get__(self, instance: Any, owner: type) -> Loader[K, V]:
        return self.loader(instance, Loader)

    def loader(self, instance: Any, make: Callable[..., Loader[K, V]]) -> Loader[K, V]:
        """Make an instance's loader with ``make``, a subclass of ``Loader``."""
        inner = instance.__dict__.get(self._name)
        if inner is None:
            inner = instance.__dict__[self._name] = _Batches(self._max_batch)
        return make(partial(self._batch, instance), inner=inner)


def one_by_one(load: Callable[[Any, K], Awaitable[V]]) -> Lazy[K, V]:
    """Create a ``Lazy`` from a method that loads one key's value."""

    async def batch(instance: Any, keys: list[K]) -> list[V | Exception]:
        return await settled(load(instance, key) for key in keys)

    return Lazy(batch)


async def settled(calls: Iterable[Awaitable[V]]) -> list[V | Exception]:
    """Await all calls. Return each call's result or exception. If a call was cancelled, raise CancelledError."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return cast("list[V | Exception]", results)
