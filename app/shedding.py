"""Load shedding: admits requests as fast as the event loop keeps up, round-robin by owner, and refuses the others.

All requests share one event loop. Without a limit, overload makes every request late. With a limit, the loop stays
responsive and the gateway refuses excess requests at little cost.

Requests are counted by weight (``app.weights``), so that cheap requests do not wait for expensive ones of other owners.
The limit on concurrent requests follows the loop (``app.concurrency``).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
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
"""Requests below this weight are counted apart: one slot is theirs, whatever the expensive requests take."""

MAX_WAIT_SECONDS = 1.0
"""How long a request waits in the queue before it is refused, in seconds."""

RETRY_SECONDS = 1.0


class Entered(NamedTuple):
    """An admitted request: when it was admitted, by the shedder's clock, and its weight."""

    since: float
    weight: float


class Shedder:
    """Decides which requests are admitted, and when.

    Args:
        most: the maximum of concurrent requests.
        overdue: returns how late the loop is now, in seconds.
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self, most: int, overdue: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = ConcurrencyLimit(most)
        self._overdue = overdue
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._expensive: Counter[str] = Counter()
        self._under_way = 0
        self._load = self._cheap = self._entered = 0.0
        self._weights = Weights()
        self._queues = Queues[Entered]()

    @property
    def limit(self) -> int:
        """The limit on concurrent requests, by weight."""
        return self._limit.now

    @property
    def under_way(self) -> int:
        """The number of admitted requests that have not ended."""
        return self._under_way

    @property
    def waiting(self) -> int:
        """The number of queued requests."""
        return len(self._queues)

    async def enter(self, owner: str, *, favours_new: bool = True) -> Entered:
        """Admit a request, or queue it.

        Args:
            owner: of the request.
            favours_new: whether an unknown owner is served before others.

        Raises:
            Overloaded: reason ``BUSY``, if the request was not admitted within ``MAX_WAIT_SECONDS``.
        """
        if owner not in self._queues and self._overdue() <= LATE_SECONDS and self._has_room(owner):
            return self._take(owner)
        waiting = self._queues.add(owner, self._clock(), is_new=favours_new and not self._weights.knows(owner))
        try:
            entered = await waiting.admitted
        except asyncio.CancelledError:
            self._cancel(owner, waiting)
            raise
        if entered is None:
            raise Overloaded("The gateway is overloaded. Retry.", reason=Reason.BUSY, retry_after_seconds=RETRY_SECONDS)
        return entered

    def leave(self, owner: str, entered: Entered, work: float = REQUEST_WORK) -> None:
        """End an admitted request, whose ``work`` is from ``work_of``, and admit queued ones."""
        self._under_way -= 1
        self._count(owner, entered, -1)
        if not self._under_way:
            self._load = self._cheap = self._entered = 0.0  # without what rounding left
        self._weights.add(owner, work)
        self._limit.add(entered.weight)
        self._admit_queued()

    def tick(self, lag: float, used: float, interval: float = INTERVAL_SECONDS) -> None:
        """Adapt the limit, and admit or refuse queued requests. Called at every tick of the loop's watch.

        Args:
            lag: how late the loop is, in seconds.
            used: the CPU time of the loop since the last call, in seconds.
            interval: the interval of ticks without lag, in seconds.
        """
        self._weights.fade()
        load = self._load + self._cheap
        age = self._clock() - self._entered / load if load else 0.0
        self._limit.follow(Tick(lag, used, interval), load=self._load, age=age, is_wanted=bool(self._queues))
        self._admit_queued()
        self._queues.refuse(self._clock() - MAX_WAIT_SECONDS)

    def _has_room(self, owner: str, few: int | None = None) -> bool:
        """Whether a request may be admitted.

        Beyond the limit, owners with at most ``few`` (``_few``) expensive requests under way are admitted as well: when
        the limit has just fallen, the load of one owner does not delay the few requests of others.
        """
        load, limit = self._load, self._limit.now
        if load + self._cheap < limit:
            return True
        if self._weight(owner) < CHEAP:
            return self._cheap < 1
        return load < limit or self._expensive[owner] <= (self._few() if few is None else few)

    def _few(self) -> int:
        """Return how many expensive requests of an owner are few compared with another's; -1 if no owner has many."""
        return max(self._expensive.values(), default=0) // MANY - 1

    def _weight(self, owner: str) -> float:
        return self._weights.of(owner, self._held.get(owner, 0))

    def _take(self, owner: str) -> Entered:
        entered = Entered(self._clock(), self._weight(owner))
        self._under_way += 1
        self._count(owner, entered, 1)
        return entered

    def _count(self, owner: str, entered: Entered, sign: int) -> None:
        self._held[owner] += sign
        if entered.weight < CHEAP:
            self._cheap += sign * entered.weight
        else:
            self._load += sign * entered.weight
            self._expensive[owner] += sign
        self._entered += sign * entered.since * entered.weight
        if not self._held[owner]:
            del self._held[owner]
            del self._expensive[owner]

    def _admit_queued(self) -> None:
        """Admit queued requests while there is room."""
        while self._queues:
            few = self._few()
            if self._load >= self._limit.now and self._cheap >= 1 and few < 0:
                return
            found = self._queues.take(self._clock(), partial(self._has_room, few=few))
            if found is None:
                return
            owner, waiting = found
            if not waiting.admitted.done():  # else it was cancelled
                waiting.admitted.set_result(self._take(owner))

    def _cancel(self, owner: str, waiting: Waiting[Entered]) -> None:
        """Remove a request that was cancelled in the queue, or just as it was admitted."""
        if waiting.admitted.cancelled():
            self._queues.remove(owner, waiting)
        elif (entered := waiting.admitted.result()) is not None:
            self.leave(owner, entered)
