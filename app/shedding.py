"""Load shedding: admits requests as fast as the event loop keeps up, round-robin by owner, and refuses the others.

All admitted requests share one event loop. Without a limit, ten times the work that the loop can do makes every request
late. With a limit the loop stays quick, and excess requests are refused while that is cheap.

Requests are counted by weight (``app.weights``), so that cheap requests neither wait for expensive ones of other owners
nor hide them in an average. How many may be under way follows the loop (``app.concurrency``).
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
"""Requests of less weight have a slot of their own: together they count as one request at most."""

MAX_WAIT_SECONDS = 1.0
"""How long a request waits to be admitted before it is refused, in seconds."""

RETRY_SECONDS = 1.0


class Entered(NamedTuple):
    """An admitted request: when it was admitted, by the clock of its ``Shedder``, and as how many it counts."""

    since: float
    weight: float


class Shedder:
    """Decides which requests are admitted, and when.

    Args:
        most: the most requests under way, however well the loop keeps up.
        overdue: how late the loop is at this moment, in seconds.
        clock: in seconds; it never goes back.
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
        """The most requests under way, by weight."""
        return self._limit.now

    @property
    def under_way(self) -> int:
        """How many admitted requests have not left."""
        return self._under_way

    @property
    def waiting(self) -> int:
        """How many requests wait to be admitted."""
        return len(self._queues)

    async def enter(self, owner: str, *, favours_new: bool = True) -> Entered:
        """Admit a request, after a wait if needed.

        Args:
            owner: of the request.
            favours_new: whether an unknown owner is served before others.

        Returns:
            The argument of ``leave``.

        Raises:
            Overloaded: reason ``BUSY``, if the request was not admitted within ``MAX_WAIT_SECONDS``.
        """
        if owner not in self._queues and self._overdue() <= LATE_SECONDS and self._has_room(owner):
            return self._take(owner)
        waiting = self._queues.add(owner, self._clock(), is_new=favours_new and not self._weights.knows(owner))
        try:
            entered = await waiting.admitted
        except asyncio.CancelledError:
            self._give_up(owner, waiting)
            raise
        if entered is None:
            raise Overloaded("The gateway is overloaded. Retry.", reason=Reason.BUSY, retry_after_seconds=RETRY_SECONDS)
        return entered

    def leave(self, owner: str, entered: Entered, work: float = REQUEST_WORK) -> None:
        """End an admitted request, and admit those that wait for its slot. ``work`` is as in ``work_of``."""
        self._under_way -= 1
        self._count(owner, entered, -1)
        if not self._under_way:
            self._load = self._cheap = self._entered = 0.0  # without what rounding left
        self._weights.add(owner, work)
        self._limit.add(entered.weight)
        self._let_in()

    def tick(self, lag: float, used: float, interval: float = INTERVAL_SECONDS) -> None:
        """Follow the loop's lag. It is called at every tick of the loop's watch.

        Args:
            lag: how late the loop is, in seconds.
            used: the CPU time of the loop since the last call, in seconds.
            interval: the time between two calls of a loop that keeps up, in seconds.
        """
        self._weights.fade()
        load = self._load + self._cheap
        age = self._clock() - self._entered / load if load else 0.0
        self._limit.follow(Tick(lag, used, interval), load=self._load, age=age, is_wanted=bool(self._queues))
        self._let_in()
        self._queues.refuse(self._clock() - MAX_WAIT_SECONDS)

    def _has_room(self, owner: str, few: int | None = None) -> bool:
        """Whether a request may be admitted.

        Past the limit there is room for owners who have ``few`` expensive requests under way (``_few``): when the limit
        has just fallen, one owner's load does not hold up the few requests of others.
        """
        load, limit = self._load, self._limit.now
        if load + self._cheap < limit:
            return True
        if self._weight(owner) < CHEAP:
            return self._cheap < 1
        return load < limit or self._expensive[owner] <= (self._few() if few is None else few)

    def _few(self) -> int:
        """How many expensive requests of one owner are few next to those of another, or -1 where nobody has many."""
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

    def _let_in(self) -> None:
        """Admit requests that wait, while there is room."""
        while self._queues:
            few = self._few()
            if self._load >= self._limit.now and self._cheap >= 1 and few < 0:
                return
            found = self._queues.take(self._clock(), partial(self._has_room, few=few))
            if found is None:
                return
            owner, waiting = found
            if not waiting.admitted.done():  # it was cancelled
                waiting.admitted.set_result(self._take(owner))

    def _give_up(self, owner: str, waiting: Waiting[Entered]) -> None:
        """Forget a request that was cancelled while it waited, or just as it was admitted."""
        if waiting.admitted.cancelled():
            self._queues.remove(owner, waiting)
        elif (entered := waiting.admitted.result()) is not None:
            self.leave(owner, entered)
