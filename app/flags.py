"""What connections wait for. asyncio's events and queues take 800 to 2,400 bytes each while nobody waits."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from resolvers.streams.waiters import Waiters, woken

T = TypeVar("T")


class Flag(Waiters):
    """An ``asyncio.Event``."""

    __slots__ = ("_is_set",)

    def __init__(self, *, is_set: bool = False) -> None:
        super().__init__()
        self._is_set = is_set

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake those who wait."""
        if not self._is_set:
            self._is_set = True
            self.wake()

    def clear(self) -> None:
        """Unset it."""
        self._is_set = False

    async def wait(self) -> Literal[True]:
        """Wait until it is set."""
        if not self._is_set:
            await woken(self)
        return True


class Inbox(Generic[T]):
    """An ``asyncio.Queue`` of any size, with one reader."""

    __slots__ = ("_arrived", "_items")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._arrived = Flag()

    def put_nowait(self, item: T) -> None:
        """Add an item at the end."""
        self._items.append(item)
        self._arrived.set()

    def empty(self) -> bool:
        """Whether there is no item."""
        return not self._items

    async def get(self) -> T:
        """Take the first item. Waits until there is one."""
        await self._arrived.wait()
        item = self._items.pop(0)
        if not self._items:
            self._arrived.clear()
        return item
