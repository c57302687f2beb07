"""Limits that WebSockets share: places of sockets, messages a second, unread answers."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.meters import Meters
from app.shares import RETRY_SECONDS, Shares
from clients.codes import Reason
from clients.errors import GatewayError, Overloaded, RateLimited

MAX_STRANGERS = 500
"""The most sockets that have not signed in. One more closes the oldest."""

MAX_STRANGERS_PER_ADDRESS = 100
"""The most of one address. One more closes the oldest of the address."""

MAX_UNREAD = 32 * 2**20
"""The characters of large answers of one user, over all sockets, that wait until the client reads."""

MAX_ALL_UNREAD = 8 * MAX_UNREAD
"""Those of all users."""

BURST_SECONDS = 10
"""How many seconds' messages a user may send at once."""


class Strangers:
    """Sockets that have not signed in.

    Where there are too many, the oldest is closed, first the oldest of the same address, and the new one is accepted.
    So a client that signs in at once is served, and one that holds sockets open without signing in loses them.

    Args:
        total: places in all.
        per_address: the most that one address has.
    """

    def __init__(self, total: int = MAX_STRANGERS, per_address: int = MAX_STRANGERS_PER_ADDRESS) -> None:
        self._total, self._per_address = total, per_address
        self._all: OrderedDict[object, str] = OrderedDict()
        self._of: dict[str, OrderedDict[object, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def join(self, address: str, give_up: Callable[[], None]) -> Callable[[], None]:
        """Take a place.

        Args:
            address: where the socket comes from.
            give_up: called when the place is needed for a newer socket.

        Returns:
            What gives the place back; called twice, it does nothing.
        """
        if len(self._of.get(address, ())) >= self._per_address:
            self._evict(next(iter(self._of[address])))
        elif len(self._all) >= self._total:
            self._evict(next(iter(self._all)))
        place = object()
        self._all[place] = address
        self._of.setdefault(address, OrderedDict())[place] = give_up
        return lambda: self._leave(place)

    def _evict(self, place: object) -> None:
        give_up = self._of[self._all[place]][place]
        self._leave(place)
        give_up()

    def _leave(self, place: object) -> None:
        address = self._all.pop(place, None)
        if address is None:
            return
        del self._of[address][place]
        if not self._of[address]:
            del self._of[address]


class Sockets:
    """What the process's WebSockets share.

    Args:
        total: sockets that have signed in.
        per_user: those of one user.
        messages_per_second: what one user may send over all of them.

    Attributes:
        strangers: places of sockets before sign-in.
        places: places of sockets after it.
        meters: what each user may send.
    """

    def __init__(self, *, total: int, per_user: int, messages_per_second: int) -> None:
        self.strangers = Strangers()
        self.places = Shares(total, per_user, what="sockets", reason=Reason.SOCKETS)
        self.meters = Meters(messages_per_second * BURST_SECONDS, messages_per_second)
        self._unread: Counter[str] = Counter()

    def full(self) -> GatewayError:
        """The error for a socket that comes when every place is taken."""
        message = f"The gateway has reached its limit of {self.places.total:,} sockets at a time. Retry."
        return Overloaded(message, reason=Reason.SOCKETS, retry_after_seconds=RETRY_SECONDS)

    @contextmanager
    def unread(self, user_id: str, size: int) -> Iterator[None]:
        """Hold an answer of ``size`` characters that waits to be read. One alone is always let through.

        Raises:
            RateLimited: the user lets too much wait already.
            Overloaded: too much waits for all users together.
        """
        held = self._unread[user_id]
        if held and held + size > MAX_UNREAD:
            message = f"{held} characters of your answers are unread. Read them, then retry."
            raise RateLimited(message, reason=Reason.UNREAD, retry_after_seconds=RETRY_SECONDS)
        if held and self._unread.total() + size > MAX_ALL_UNREAD:
            message = "Too much memory holds answers that clients have not read. Retry."
            raise Overloaded(message, reason=Reason.UNREAD, retry_after_seconds=RETRY_SECONDS)
        self._unread[user_id] += size
        try:
            yield
        finally:
            self._unread[user_id] -= size
            if not self._unread[user_id]:
                del self._unread[user_id]
