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

    def has(self, key: K) -> bool:
        """Return whether the key is loading or loaded."""
        return key in self._cache

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
        try:
            return await self._batch(keys)
        except Exception as error:  # noqa: BLE001 - each key has the error
            return [error for _ in keys]
        finally:
            del pending, batch, one  # avoids a cycle: the futures refer to the error, and the error to this frame

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
        joined = self.join(key)
        try:
            value = joined.future.result() if joined.future.done() else await asyncio.shield(joined.future)
            if joined.is_stale:
                joined.report()
            return value
        finally:
            joined.leave()
            del joined  # avoids a cycle: the future refers to the error, and the error to this frame

    def join(self, key: K) -> Joined[K, V]:
        """Begin to load a key, or join a load of the key. The caller must call ``Joined.leave``."""
        shared: asyncio.Future[V] = self._inner.load(key)
        if shared.done():
            return Joined(self, key, shared)
        pending = self._pending.get(key)
        if pending is None or pending.shared is not shared:
            pending = self._begin(key, shared)
        pending.waiters += 1
        return Joined(self, key, shared, pending)

    def has(self, key: K) -> bool:
        """Return whether the key is loading or loaded."""
        return self._inner.has(key)

    @property
    def identity(self) -> int:
        """A number that is equal for the objects that share loaded values."""
        return id(self._inner)

    def is_stale(self, _key: K) -> bool:
        """Return whether the key's loaded record is stale."""
        return False

    def report(self, _key: K) -> None:
        """Report that the current field has read the key's stale record."""

    def leave(self, pending: _Pending[V]) -> None:
        """Cancel the load of a key if nothing waits for its batch any longer."""
        pending.waiters -= 1
        if not pending.shared.done():
            self._abandon(pending.batch)

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


class Joined(Generic[K, V]):
    """A load of one key, and the right to its result.

    Attributes:
        future: the key's value. Do not cancel the future: other fields wait for it.
    """

    __slots__ = ("_key", "_loader", "_pending", "future")

    def __init__(
        self, loader: Loader[K, V], key: K, future: asyncio.Future[V], pending: _Pending[V] | None = None
    ) -> None:
        self.future = future
        self._loader = loader
        self._key = key
        self._pending = pending

    @property
    def is_stale(self) -> bool:
        """Whether the loaded record is stale."""
        return self._loader.is_stale(self._key)

    def report(self) -> None:
        """Report that the current field has read the stale record."""
        self._loader.report(self._key)

    def leave(self) -> None:
        """Stop waiting for the key. If nothing else waits for it, the load is cancelled."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._loader.leave(pending)


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
    waiting = list(calls)
    if len(waiting) == 1:  # most batches have one key, and need no further task
        return [await _settled(waiting.pop())]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return cast("list[V | Exception]", results)


async def _settled(call: Awaitable[V]) -> V | Exception:
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - the caller gets the exception
        return error
