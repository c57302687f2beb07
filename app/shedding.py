"""Load shedding: admits only as many requests as the event loop can serve in time.

Without a limit, overload makes every request late. With a limit, the gateway refuses excess requests at little cost.
Owners are served round-robin.

Requests are counted by weight (``app.weights``), so that cheap requests do not wait for other owners' expensive ones.
``app.concurrency`` adapts the limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from app.concurrency import LATE_SECONDS, ConcurrencyLimit, Tick
from app.lag import INTERVAL_SECONDS
from app.queues import Queues, Waiting
from app.weights import MANY, REQUEST_WORK, Weights
from clients.codes import Reason
from clients.errors import Overloaded

CHEAP = 0.5
"""A request with a smaller weight (relative cost) is cheap. One slot is reserved for cheap requests."""

MAX_WAIT_SECONDS = 1.0
"""How long a request may wait in the queue, in seconds. After this time, the gateway refuses the request."""

RETRY_SECONDS = 1.0


class Admitted(NamedTuple):
    """The time at which a request was admitted, and the request's weight (relative cost)."""

    since: float
    weight: float


class Shedder:
    """Admits or refuses requests, and queues requests that must wait.

    Args:
        overdue: returns how late the loop is now, in seconds.
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self, most: int, overdue: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = ConcurrencyLimit(most)
        self._overdue = overdue
        self._clock = clock
        self._held: dict[str, int] = {}
        self._expensive: dict[str, int] = {}
        self._in_flight = 0
        self._load = self._cheap = self._entered = 0.0
        self._weights = Weights()
        self._queues = Queues[Admitted]()

    @property
    def limit(self) -> int:
        """Return the limit on the total weight of admitted requests."""
        return self._limit.now

    @property
    def in_flight(self) -> int:
        """Return the number of admitted requests that have not ended."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """Return the number of queued requests."""
        return len(self._queues)

    async def enter(self, owner: str, *, favours_new: bool = True) -> Admitted:
        """Wait until the request is admitted.

        Args:
            owner: the user or client address that sent the request.
            favours_new: whether an owner without recent requests is served before others.

        Raises:
            Overloaded: the request was not admitted within ``MAX_WAIT_SECONDS``.
        """
        entered = self.enter_at_once(owner)
        if entered is not None:
            return entered
        waiting = self.wait(owner, favours_new=favours_new)
        try:
            await waiting.admitted
        except asyncio.CancelledError:
            self.abandon(owner, waiting)
            raise
        entered = waiting.admitted.result()
        if entered is None:
            raise busy()
        return entered

    def enter_at_once(self, owner: str) -> Admitted | None:
        """Admit the request if it need not wait. Otherwise, return ``None``."""
        if owner not in self._queues and self._overdue() <= LATE_SECONDS and self._has_room(owner):
            return self._take(owner)
        return None

    def wait(self, owner: str, *, favours_new: bool = True) -> Waiting[Admitted]:
        """Add the request to its owner's queue. For the arguments see ``enter``."""
        return self._queues.add(owner, self._clock(), is_new=favours_new and not self._weights.knows(owner))

    def abandon(self, owner: str, waiting: Waiting[Admitted]) -> None:
        """Remove a request from the queue. If the request was admitted meanwhile, end the request."""
        waiting.admitted.cancel()
        if waiting.admitted.cancelled():
            self._queues.remove(owner, waiting)
        elif (entered := waiting.admitted.result()) is not None:
            self.leave(owner, entered)

    def leave(self, owner: str, entered: Admitted, work: float = REQUEST_WORK) -> None:
        """Record that an admitted request has ended. Admit queued requests."""
        self._in_flight -= 1
        self._count(owner, entered, -1)
        if not self._in_flight:
            self._load = self._cheap = self._entered = 0.0  # removes rounding errors
        self._weights.add(owner, work)
        self._limit.add(entered.weight)
        if self._queues:
            self._admit_queued()

    def tick(self, lag: float, used: float, interval: float = INTERVAL_SECONDS) -> None:
        """Adapt the limit on admitted requests. Admit or refuse queued requests.

        ``LoopWatch`` calls this method at every tick.

        Args:
            lag: how late the loop is, in seconds.
            used: the busy time of the loop since the last call, in seconds.
            interval: the time between ticks without lag, in seconds.
        """
        self._weights.fade()
        load = self._load + self._cheap
        age = self._clock() - self._entered / load if load else 0.0
        self._limit.follow(Tick(lag, used, interval), load=self._load, age=age, has_waiting=bool(self._queues))
        self._admit_queued()
        self._queues.refuse(self._clock() - MAX_WAIT_SECONDS)

    def _has_room(self, owner: str, few: int | None = None) -> bool:
        """Return whether an owner's next request may be admitted.

        Even beyond the limit, an owner with at most ``few`` expensive requests in flight may send another. Otherwise,
        one owner's load could delay owners with few requests when the limit falls.
        """
        load, limit = self._load, self._limit.now
        if load + self._cheap < limit:
            return True
        if self._weight(owner) < CHEAP:
            return self._cheap < 1
        return load < limit or self._expensive.get(owner, 0) <= (self._few() if few is None else few)

    def _few(self) -> int:
        """Compute the default of ``few`` in ``_has_room``. If no owner may exceed the limit, return -1."""
        return max(self._expensive.values(), default=0) // MANY - 1

    def _weight(self, owner: str) -> float:
        return self._weights.of(owner, self._held.get(owner, 0))

    def _take(self, owner: str) -> Admitted:
        entered = Admitted(self._clock(), self._weight(owner))
        self._in_flight += 1
        self._count(owner, entered, 1)
        return entered

    def _count(self, owner: str, entered: Admitted, sign: int) -> None:
        since, weight = entered
        self._entered += sign * since * weight
        if weight < CHEAP:
            self._cheap += sign * weight
        else:
            self._load += sign * weight
            self._expensive[owner] = self._expensive.get(owner, 0) + sign
        held = self._held.get(owner, 0) + sign
        if held:
            self._held[owner] = held
        else:
            del self._held[owner]
            self._expensive.pop(owner, None)

    def _admit_queued(self) -> None:
        while self._queues:
            few = self._few()
            if self._load >= self._limit.now and self._cheap >= 1 and few < 0:
                return
            found = self._queues.take(self._clock(), partial(self._has_room, few=few))
            if found is None:
                return
            owner, waiting = found
            if not waiting.admitted.done():  # otherwise, the request was cancelled
                waiting.admitted.set_result(self._take(owner))


def busy() -> Overloaded:
    """Return the error for a request that was not admitted within ``MAX_WAIT_SECONDS``."""
    message = "The gateway is overloaded. Retry the request."
    return Overloaded(message, reason=Reason.BUSY, retry_after_seconds=RETRY_SECONDS)
