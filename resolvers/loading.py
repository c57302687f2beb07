"""Loaders: each reads a key once per operation, and keys of the same tick in one batch.

In aiodataloader, cancelling one waiter of a key cancels them all, and the cancelled future stays cached. Here every
waiter has a shield, and a key that failed is removed. A batch without waiters is cancelled with its calls, and removed.
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
"""The most keys in a batch, unless a service accepts fewer."""


class _Abandoned(Exception):
    """The result of a key without waiters."""


@dataclass(eq=False, slots=True)
class _Wanted(Generic[V]):
    """A key that is being loaded, and its number of waiters. ``batch`` is set when its batch has begun."""

    shared: asyncio.Future[V]
    waiters: int = 0
    batch: _Batch[V] | None = None


@dataclass(eq=False, slots=True)
class _Batch(Generic[V]):
    """The keys of one read, and the task that makes it."""

    task: asyncio.Task[Any] | None
    wanted: list[_Wanted[V]]

    @property
    def is_abandoned(self) -> bool:
        return not any(wanted.waiters for wanted in self.wanted)


class _Batches(DataLoader[K, Any]):
    """aiodataloader's part of a loader, which an operation keeps.

    It refers to ``batch``, and so to the operation's loaders, only while keys are being loaded: otherwise only the
    garbage collector would free the operation.
    """

    def __init__(self, max_batch: int) -> None:
        super().__init__(max_batch_size=max_batch)
        self.wanted: dict[K, _Wanted[Any]] = {}
        self._batch: Callable[[list[K]], Awaitable[list[Any]]] | None = None

    def want(self, key: K, wanted: _Wanted[Any], batch: Callable[[list[K]], Awaitable[list[Any]]]) -> None:
        """Load a queued key by ``batch``."""
        self.wanted[key] = wanted
        self._batch = batch

    def get_cache_key(self, key: K) -> K:
        """Return the key itself. Without this method, aiodataloader makes a function for each loader."""
        return key

    async def batch_load_fn(self, keys: list[K]) -> list[Any]:
        """Load the keys of one batch."""
        wanted = [self.wanted[key] for key in keys]
        batch = _Batch(asyncio.current_task(), wanted)
        if batch.is_abandoned:
            for key in keys:
                self.forget(key)
            return [_Abandoned() for _ in keys]
        for one in wanted:
            one.batch = batch
        assert self._batch is not None  # noqa: S101 - keys are wanted
        return await self._batch(keys)

    def unwant(self, key: K) -> None:
        """End the loading of a key."""
        del self.wanted[key]
        if not self.wanted:
            self._batch = None

    def forget(self, key: K) -> None:
        """Remove a key, so that its next use loads it again."""
        self.unwant(key)
        self.clear(key)


class Loader(Generic[K, V]):
    """A loader. ``batch`` returns a value or an exception for each key; ``inner`` has the values loaded before."""

    __slots__ = ("_batch", "_inner", "_wanted")

    def __init__(
        self,
        batch: Callable[[list[K]], Awaitable[list[V | Exception]]],
        *,
        max_batch: int = MAX_BATCH,
        inner: _Batches[K] | None = None,
    ) -> None:
        self._batch = batch
        self._inner: _Batches[K] = _Batches(max_batch) if inner is None else inner
        self._wanted: dict[K, _Wanted[V]] = self._inner.wanted

    async def load(self, key: K) -> V:
        """Return the value of ``key``, or raise the batch's exception for it."""
        shared: asyncio.Future[V] = self._inner.load(key)
        if shared.done():
            return shared.result()
        wanted = self._wanted.get(key)
        if wanted is None or wanted.shared is not shared:
            wanted = self._want(key, shared)
        wanted.waiters += 1
        try:
            return await asyncio.shield(shared)
        finally:
            wanted.waiters -= 1
            if not shared.done():
                self._give_up(wanted.batch)
            del shared, wanted  # an error refers to this frame, and the future to the error

    def prime(self, key: K, value: V) -> None:
        """Keep a value from another read, if there is none yet."""
        self._inner.prime(key, value)

    def _give_up(self, batch: _Batch[V] | None) -> None:
        if batch is None or not batch.is_abandoned or batch.task is None:
            return
        for key in [key for key, wanted in self._wanted.items() if wanted.batch is batch]:
            self._inner.forget(key)
        batch.task.cancel()
        batch.task = None  # whose cancellation refers to the batch
        for wanted in batch.wanted:
            wanted.shared.cancel()  # calls ``settle``, to which it refers

    def _want(self, key: K, shared: asyncio.Future[V]) -> _Wanted[V]:
        wanted, inner = _Wanted(shared), self._inner
        inner.want(key, wanted, self._batch)

        def settle(done: asyncio.Future[V]) -> None:
            wanted.batch = None  # which refers to it
            failed = done.cancelled() or done.exception() is not None
            if inner.wanted.get(key) is not wanted:
                return
            if failed:
                inner.forget(key)
            else:
                inner.unwant(key)

        shared.add_done_callback(settle)
        return wanted


class Lazy(Generic[K, V]):
    """A loader of each instance of a class, made at its use: an operation uses few of them. ``batch`` is a method.

    The instance keeps the loaded values, and not the loader, which refers to the instance.
    """

    def __init__(
        self, batch: Callable[[Any, list[K]], Awaitable[list[V | Exception]]], *, max_batch: int = MAX_BATCH
    ) -> None:
        self._batch = batch
        self._max_batch = max_batch
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"{name} loaded"

    def __get__(self, instance: Any, owner: type) -> Loader[K, V]:
        inner = instance.__dict__.get(self._name)
        if inner is None:
            inner = instance.__dict__[self._name] = _Batches(self._max_batch)
        return Loader(partial(self._batch, instance), inner=inner)


def one_by_one(load: Callable[[Any, K], Awaitable[V]]) -> Lazy[K, V]:
    """Make a loader of a method that takes one key."""

    async def batch(instance: Any, keys: list[K]) -> list[V | Exception]:
        return await settled(load(instance, key) for key in keys)

    return Lazy(batch)


async def settled(calls: Iterable[Awaitable[V]]) -> list[V | Exception]:
    """Return all results in order, failures included. Raises a cancellation."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return cast("list[V | Exception]", results)
