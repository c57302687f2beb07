"""Limits concurrent calls to a service, and divides the calls fairly between callers."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

SHARES = 4
"""The divisor for a caller's quota. A caller may hold a bulkhead's slots divided by this number."""


class BulkheadFull(TimeoutError):
    """The caller waited for a slot, but got none before the timeout."""


@dataclass(slots=True)
class _Queue:
    """A caller's queued calls, and the number of calls that were admitted since the queue began."""

    slots: deque[asyncio.Future[None]] = field(default_factory=deque)
    admitted: int = 0


class Bulkhead:
    """Limits the number of concurrent calls to ``size``.

    Further calls wait in queues, one queue for each caller. If ``brief`` is set, calls are short, and a caller that
    holds its whole share waits without a timeout.
    """

    def __init__(self, size: int, *, brief: bool = False) -> None:
        self._brief = brief
        self._free = size
        self._share = max(1, size // SHARES)
        self._held: Counter[str] = Counter()
        self._queues: dict[str, _Queue] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no call is in progress or queued."""
        return not self._held and not self._queues

    def take(self, caller: str) -> bool:
        """Take a slot for one call, if the caller need not wait. Return whether the call has a slot."""
        has_slot = self._has_slot_for(caller)
        if has_slot:
            self._take(caller)
        return has_slot

    async def enter(self, caller: str, timeout_seconds: float) -> None:
        """Wait for a slot, and take the slot for one call.

        ``leave`` must be called when the call ends. Raises BulkheadFull if no call of the caller was admitted for
        ``timeout_seconds``. If calls are brief, the timeout applies only while the caller holds less than its share.
        """
        if self.take(caller):
            return
        queue = self._queues.setdefault(caller, _Queue())
        slot = asyncio.get_running_loop().create_future()
        queue.slots.append(slot)
        try:
            await self._wait(slot, queue, caller, timeout_seconds)
        except (asyncio.CancelledError, BulkheadFull):
            if slot.done():
                self.leave(caller)
            else:
                self._dequeue(caller, slot)
            raise

    async def _wait(self, slot: asyncio.Future[None], queue: _Queue, caller: str, timeout_seconds: float) -> None:
        while not slot.done():
            admitted = queue.admitted
            await asyncio.wait({slot}, timeout=timeout_seconds)
            waits_for_own = self._brief and self._held[caller] >= self._share
            if not slot.done() and queue.admitted == admitted and not waits_for_own:
                raise BulkheadFull

    def leave(self, caller: str) -> None:
        """Free a caller's slot, and admit queued calls."""
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        self._admit()

    def _admit(self) -> None:
        while (caller := next(filter(self._has_slot_for, self._queues), None)) is not None:
            queue = self._queues[caller]
            slot = queue.slots[0]
            self._dequeue(caller, slot)
            self._take(caller)
            queue.admitted += 1
            slot.set_result(None)
            if caller in self._queues:
                self._queues[caller] = self._queues.pop(caller)  # the caller is served last in the next round

    def _has_slot_for(self, caller: str) -> bool:
        return self._free > 0 and self._held[caller] < self._share

    def _take(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] += 1

    def _dequeue(self, caller: str, slot: asyncio.Future[None]) -> None:
        slots = self._queues[caller].slots
        slots.remove(slot)
        if not slots:
            del self._queues[caller]
