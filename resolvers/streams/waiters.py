"""Who waits for something to happen."""

from __future__ import annotations

import asyncio


class Waiters:
    """Futures that are woken together."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def add(self, waiter: asyncio.Future[None]) -> None:
        """Somebody who waits, and is to be woken."""
        self._waiters.add(waiter)

    def remove(self, waiter: asyncio.Future[None]) -> None:
        """Somebody who waits no longer."""
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
