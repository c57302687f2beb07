"""Futures that tasks wait for."""

from __future__ import annotations

import asyncio

from clients.origin import Owner


class Waiters:
    """Futures that are woken together. A single one is kept without a set, which takes 216 bytes."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: asyncio.Future[None] | set[asyncio.Future[None]] | None = None

    def add(self, waiter: asyncio.Future[None]) -> None:
        """Add a future to wake."""
        if self._waiters is None:
            self._waiters = waiter
        elif isinstance(self._waiters, set):
            self._waiters.add(waiter)
        else:
            self._waiters = {self._waiters, waiter}

    def remove(self, waiter: asyncio.Future[None]) -> None:
        """Remove a future."""
        if self._waiters is waiter:
            self._waiters = None
        elif isinstance(self._waiters, set):
            self._waiters.discard(waiter)

    def __bool__(self) -> bool:
        return bool(self._waiters) if isinstance(self._waiters, set) else self._waiters is not None

    def wake(self) -> None:
        """Wake all futures."""
        if self._waiters is None:
            return
        for waiter in list(self._waiters) if isinstance(self._waiters, set) else (self._waiters,):
            if not waiter.done():
                waiter.set_result(None)


class KeyedWaiters:
    """Waiters by key, for as long as there are any."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[tuple[Owner, str], Waiters] = {}

    async def woken(self, key: tuple[Owner, str], *others: Waiters) -> None:
        """Wait until a key's waiters, or one of the others, wake."""
        waiters = self._waiters.setdefault(key, Waiters())
        try:
            await woken(waiters, *others)
        finally:
            if not waiters:
                self._waiters.pop(key, None)

    def wake(self, key: tuple[Owner, str]) -> None:
        """Wake a key's waiters."""
        if (waiters := self._waiters.get(key)) is not None:
            waiters.wake()


async def woken(*several: Waiters) -> None:
    """Wait until one of several ``Waiters`` wakes."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for waiters in several:
        waiters.add(waiter)
    try:
        await waiter
    finally:
        for waiters in several:
            waiters.remove(waiter)
