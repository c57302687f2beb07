"""Places of requests and streams: each request holds one while it is served, counted against its owner's share.

Requests, streams and calls that Letta sends back have separate places, and so have requests that are not signed in.
The bytes of a request's body count against its owner's share, too, from the first until the request has been served.
"""

from __future__ import annotations

from enum import Enum
from functools import partial

from app.shares import Holding, Shares
from app.shedding import Entered, Shedder
from app.telemetry import Telemetry
from app.weights import work_of
from clients.bulkhead import SHARES
from clients.calls import CallBudget
from clients.codes import Reason

BODIES = 32
"""How many bodies of the largest size one owner's requests may have at a time."""


class CallerKind(Enum):
    """Whose places a request takes. A ``STRANGER`` is a request that is not signed in, counted by client address."""

    USER = "user"
    LETTA = "letta"
    STRANGER = "stranger"


class Place:
    """One request's place. It is entered once and left once; ``lengthen`` exchanges it for a stream's place.

    Attributes:
        calls: counts the calls that the request makes to services, if it makes any.
        size: the bytes of its answer, if they are many.
    """

    __slots__ = ("_body", "_entered", "_kind", "_owner", "_places", "_shares", "calls", "size")

    def __init__(self, places: Places, shares: Shares, bodies: Shares, kind: CallerKind, owner: str) -> None:
        self._places = places
        self._owner = owner
        self._kind = kind
        self._entered: Entered | None = None
        self.calls: CallBudget | None = None
        self.size = 0
        shares.take(owner)
        self._shares: Shares | None = shares
        self._body = Holding(bodies, owner)

    def hold_body(self, size: int) -> None:
        """Count a body of which ``size`` bytes have come. Raises RateLimited or Overloaded (``BODIES``)."""
        self._body.set(size)

    async def enter(self) -> None:
        """Wait until load shedding admits the request. Raises Overloaded (``BUSY``)."""
        if self._kind is not CallerKind.LETTA:
            is_user = self._kind is CallerKind.USER  # there may be any number of addresses
            self._entered = await self._places.shedder.enter(self._owner, favours_new=is_user)

    def lengthen(self) -> None:
        """Take a place of a stream instead: the request will wait for a model, or for as long as its client reads.

        Raises:
            RateLimited: reason ``STREAMS``, where the owner has as many as it may.
            Overloaded: reason ``STREAMS``, where there are as many as there may be in all.
        """
        streams = self._places.streams_of(self._shares)
        if self._shares is None or streams is self._shares:
            return
        streams.take(self._owner)
        self._leave_shedder()
        self._shares.give(self._owner)
        self._shares = streams

    def leave(self) -> None:
        """Give everything back."""
        self._leave_shedder()
        self._body.set(0)
        if self._shares is not None:
            self._shares.give(self._owner)
            self._shares = None

    def _leave_shedder(self) -> None:
        if (entered := self._entered) is not None:
            self._entered = None
            calls = 0 if self.calls is None else self.calls.made
            self._places.shedder.leave(self._owner, entered, work_of(calls, self.size))


class Places:
    """All places of the process.

    Args:
        requests: places of signed-in users' requests; as many again are for calls that Letta sends back.
        streams: places of streams and of requests that wait for a model; as many again for Letta's.
        shedder: admits requests as the event loop keeps up.
        largest_body: the most bytes of one body.
    """

    def __init__(self, requests: int, streams: int, shedder: Shedder, largest_body: int = 1_000_000) -> None:
        self.shedder = shedder
        self.strangers = Shares(_part(requests), _part(_part(requests)))
        self.requests = Shares(requests, _part(requests))
        self.returning = Shares(requests, _part(requests))
        self.streams = Shares(streams, _part(streams), what="streams", reason=Reason.STREAMS)
        self.returning_streams = Shares(streams, _part(streams), what="streams", reason=Reason.STREAMS)
        each = BODIES * largest_body
        self.bodies = _bodies(SHARES * each, each)
        self.returning_bodies = _bodies(SHARES * each, each)
        self.stranger_bodies = _bodies(each, _part(each))

    def take(self, kind: CallerKind, owner: str) -> Place:
        """A place for a request, or for an operation of a socket. Raises RateLimited or Overloaded (``REQUESTS``)."""
        if kind is CallerKind.LETTA:
            return Place(self, self.returning, self.returning_bodies, kind, owner)
        if kind is CallerKind.STRANGER:
            return Place(self, self.strangers, self.stranger_bodies, kind, owner)
        return Place(self, self.requests, self.bodies, kind, owner)

    def watched_by(self, telemetry: Telemetry) -> None:
        """Expose what is taken as metrics."""
        kinds = {
            "requests": self.requests,
            "streams": self.streams,
            "strangers": self.strangers,
            "requests_from_letta": self.returning,
            "streams_from_letta": self.returning_streams,
        }
        bodies = (self.bodies, self.returning_bodies, self.stranger_bodies)
        telemetry.watch_places(
            {kind: partial(getattr, shares, "taken") for kind, shares in kinds.items()},
            lambda: sum(shares.taken for shares in bodies),
        )

    def streams_of(self, shares: Shares | None) -> Shares:
        """The places that streams take which began as these requests."""
        return self.returning_streams if shares in {self.returning, self.returning_streams} else self.streams


def _part(total: int) -> int:
    return max(1, total // SHARES)


def _bodies(total: int, per_owner: int) -> Shares:
    return Shares(total, per_owner, what="bytes of requests", reason=Reason.BODIES)
