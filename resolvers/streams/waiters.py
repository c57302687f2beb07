"""Who waits for something to happen."""

from __future__ import annotations

import asyncio

_NOBODY: frozenset[asyncio.Future[None]] = frozenset()


class Waiters:
    """Futures that are woken together."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] | frozenset[asyncio.Future[None]] = _NOBODY  # a set takes 216 bytes

    def add(self, waiter: asyncio.Future[None]) -> None:
        """Somebody who waits, and is to be woken."""
        if isinstance(self._waiters, set):
            self._waiters.add(waiter)
        else:
            self._waiters = {waiter}

    def remove(self, waiter: asyncio.Future[None]) -> None:
        """Somebody who waits no longer."""
        if isinstance(self._waiters, set):
            self._waiters.discard(waiter)

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def wake(self) -> None:
        """It has happened."""
        for waiter in list(self._waiters):
            if not waiter.done():
                waiter.set_result(None)


async def woken(*several: Waiters) -> None:
    """Wait until one of several wakes."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for waiters in several:
        waiters.add(waiter)
    try:
        await waiter
    finally:
        for waiters in several:
            waiters.remove(waiter)
