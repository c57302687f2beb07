"""Counts the slots for requests and streams, and the bytes of request bodies.

Users, Letta and anonymous clients have separate counters, with limits for each owner. A body counts from its first byte
until the request ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from app.queues import Waiting
from app.shares import Holding, Shares
from app.shedding import Admitted, Shedder, busy
from app.telemetry import Telemetry
from app.weights import work_of
from clients.bulkhead import SHARES
from clients.calls import CallBudget
from clients.codes import Reason
from clients.errors import Overloaded, RateLimited
from clients.origin import Origin, Owner
from clients.state.cache import Versions

BODIES = 32
"""How many request bodies of maximum size one owner may send concurrently."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Counts slots, and bytes of request bodies, for the requests of one ``Origin``.

    Attributes:
        streams: slots for streams, and for requests that wait for a model.
    """

    requests: Shares
    streams: Shares
    bodies: Shares


class Slot:
    """The right to run one HTTP request or WebSocket operation: one of a limited number of slots.

    ``Slots`` has taken the slot from ``pool.requests``.

    Attributes:
        calls: counts the request's upstream calls; ``None`` if the request makes none.
        versions: the versions of the user's cache tags, if they were read with the rate limit.
        size: the size of the request's answer in bytes; 0 if the answer is small.
    """

    __slots__ = (
        "_body",
        "_entered",
        "_owner",
        "_pool",
        "_shares",
        "_shedder",
        "_waiting",
        "calls",
        "size",
        "versions",
    )

    def __init__(self, pool: Pool, shedder: Shedder, owner: Owner) -> None:
        self._pool = pool
        self._shedder = shedder
        self._owner = owner
        self._entered: Admitted | None = None
        self._waiting: Waiting[Admitted] | None = None
        self.calls: CallBudget | None = None
        self.size = 0
        self.versions: Versions | None = None
        self._shares: Shares | None = pool.requests
        self._body = Holding(pool.bodies, owner.id)

    def hold_body(self, size: int) -> None:
        """Record that ``size`` bytes of the request's body are in memory.

        Raises:
            RateLimited: the owner's bodies are too large together.
            Overloaded: all owners' bodies are too large together.
        """
        self._body.set(size)

    async def enter(self) -> None:
        """Wait until the shedder admits the request. Raise Overloaded if the wait is too long."""
        self.begin()
        if self._waiting is not None:
            try:
                await self._waiting.admitted
            except asyncio.CancelledError:
                self._leave_shedder()
                raise
            refused = self.settle()
            if refused is not None:
                raise refused

    @property
    def waiting(self) -> asyncio.Future[Admitted | None] | None:
        """Return a future that ends with the request's wait in the shedder's queue, or ``None``."""
        return None if self._waiting is None else self._waiting.admitted

    def begin(self) -> None:
        """Admit the request, or add the request to the shedder's queue until ``settle``."""
        origin, owner = self._owner.origin, self._owner.id
        if origin is Origin.LETTA:
            return
        self._entered = self._shedder.enter_at_once(owner)
        if self._entered is None:
            is_user = origin is Origin.USER  # addresses are not favoured, because their number is unbounded
            self._waiting = self._shedder.wait(owner, favours_new=is_user)

    def settle(self) -> Overloaded | None:
        """End the wait that ``begin`` began. Return the error if the request was refused."""
        waiting, self._waiting = self._waiting, None
        self._entered = None if waiting is None else waiting.admitted.result()
        return busy() if self._entered is None else None

    def lengthen(self) -> None:
        """Exchange the request's slot for a stream's slot.

        Call this method before the request waits for a model or for the client to read.

        Raises:
            RateLimited: the owner has too many streams.
            Overloaded: no slot is free.
        """
        streams = self._pool.streams
        if self._shares is None or streams is self._shares:
            return
        refused = streams.offer(self._owner.id)
        if refused is not None:
            raise refused
        self._leave_shedder()
        self._shares.give(self._owner.id)
        self._shares = streams

    def leave(self) -> None:
        """Free the slot, and stop counting the request body's bytes."""
        self._leave_shedder()
        self._body.set(0)
        if self._shares is not None:
            self._shares.give(self._owner.id)
            self._shares = None

    def _leave_shedder(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._shedder.abandon(self._owner.id, waiting)
        if (entered := self._entered) is not None:
            self._entered = None
            calls = 0 if self.calls is None else self.calls.made
            self._shedder.leave(self._owner.id, entered, work_of(calls, self.size))


class Slots:
    """The slots of all requests and streams in the process.

    Args:
        requests: the number of slots for users' requests. Letta's requests have as many separate slots.
        streams: the number of slots for users' streams and requests that wait for a model. Letta has as many.
        largest_body: the size limit of one body, in bytes.

    Attributes:
        pools: the slots of each origin.
    """

    def __init__(self, requests: int, streams: int, shedder: Shedder, largest_body: int = 1_000_000) -> None:
        self.shedder = shedder
        each = BODIES * largest_body
        user, letta = (
            Pool(
                Shares(requests, _part(requests)),
                Shares(streams, _part(streams), unit="concurrent streams", reason=Reason.STREAMS),
                _bodies(SHARES * each, each),
            )
            for _ in range(2)
        )
        anonymous = Pool(Shares(_part(requests), _part(_part(requests))), user.streams, _bodies(each, _part(each)))
        self.pools = {Origin.USER: user, Origin.LETTA: letta, Origin.ANONYMOUS: anonymous}

    def take(self, owner: Owner, versions: Versions | None = None) -> Slot:
        """Take a slot for a request or a WebSocket operation. Raise RateLimited or Overloaded if no slot is free."""
        slot = self.offer(owner)
        if not isinstance(slot, Slot):
            raise slot
        slot.versions = versions
        return slot

    def offer(self, owner: Owner) -> Slot | RateLimited | Overloaded:
        """Take a slot like ``take``, or return the error. See ``Shares.offer``."""
        pool = self.pools[owner.origin]
        return pool.requests.offer(owner.id) or Slot(pool, self.shedder, owner)

    def watched_by(self, telemetry: Telemetry) -> None:
        """Add metrics for the slots in use and the total size of request bodies."""
        kinds = {
            "requests": self.pools[Origin.USER].requests,
            "streams": self.pools[Origin.USER].streams,
            "anonymous_requests": self.pools[Origin.ANONYMOUS].requests,
            "letta_requests": self.pools[Origin.LETTA].requests,
            "letta_streams": self.pools[Origin.LETTA].streams,
        }
        telemetry.watch_slots(
            {kind: partial(getattr, shares, "taken") for kind, shares in kinds.items()},
            lambda: sum(pool.bodies.taken for pool in self.pools.values()),
        )


def _part(total: int) -> int:
    return max(1, total // SHARES)


def _bodies(total: int, per_owner: int) -> Shares:
    return Shares(total, per_owner, unit="bytes of concurrent requests", reason=Reason.BODIES)
