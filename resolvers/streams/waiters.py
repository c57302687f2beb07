"""Groups of futures that tasks await."""

import asyncio

from clients.origin import Owner


class Waiters:
    """Futures that are woken together. A single future is stored without a set to save memory."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: asyncio.Future[None] | set[asyncio.Future[None]] | None = None

    def add(self, waiter: asyncio.Future[None]) -> None:
        """Add a future."""
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
    """Groups of waiters by key. A key without waiters is removed."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: dict[tuple[Owner, str], Waiters] = {}

    async def woken(self, key: tuple[Owner, str], *others: Waiters) -> None:
        """Wait until another task wakes the key's waiters or one of the ``others``."""
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
    """Wait until another task wakes one of several ``Waiters``."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for waiters in several:
        waiters.add(waiter)
    try:
        await waiter
    finally:
        for waiters in several:
            waiters.remove(waiter)
