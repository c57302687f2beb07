"""Limits that WebSockets share: slots of sockets, messages per second, unread answers."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.meters import Meters
from app.shares import RETRY_SECONDS, Shares
from clients.codes import Reason
from clients.errors import GatewayError, Overloaded, RateLimited

MAX_ANONYMOUS = 500
"""The most sockets that are not signed in. A further one closes the oldest."""

MAX_ANONYMOUS_PER_ADDRESS = 100
"""The most of one address. A further one closes the oldest of the address."""

MAX_UNREAD = 32 * 2**20
"""The most characters in unread large answers of one user, over all sockets."""

MAX_ALL_UNREAD = 8 * MAX_UNREAD
"""The most of all users."""

BURST_SECONDS = 10
"""The seconds whose messages a user may send at once."""


class AnonymousSockets:
    """Sockets that are not signed in.

    A new socket is always accepted. If its address, or the process, has no slot free, the oldest is closed.
    Clients that sign in at once are therefore served, and clients that only hold sockets lose them.
    """

    def __init__(self, total: int = MAX_ANONYMOUS, per_address: int = MAX_ANONYMOUS_PER_ADDRESS) -> None:
        self._total, self._per_address = total, per_address
        self._all: OrderedDict[object, str] = OrderedDict()
        self._of: dict[str, OrderedDict[object, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def join(self, address: str, give_up: Callable[[], None]) -> Callable[[], None]:
        """Take a slot.

        Args:
            address: of the client.
            give_up: called if the slot is needed for a newer socket.

        Returns:
            A function that returns the slot; a second call does nothing.
        """
        if len(self._of.get(address, ())) >= self._per_address:
            self._evict(next(iter(self._of[address])))
        elif len(self._all) >= self._total:
            self._evict(next(iter(self._all)))
        slot = object()
        self._all[slot] = address
        self._of.setdefault(address, OrderedDict())[slot] = give_up
        return lambda: self._leave(slot)

    def _evict(self, slot: object) -> None:
        give_up = self._of[self._all[slot]][slot]
        self._leave(slot)
        give_up()

    def _leave(self, slot: object) -> None:
        address = self._all.pop(slot, None)
        if address is None:
            return
        del self._of[address][slot]
        if not self._of[address]:
            del self._of[address]


class Sockets:
    """The limits that the WebSockets of the process share.

    Args:
        total: the most signed-in sockets.
        per_user: the most of one user.
        messages_per_second: the rate limit of one user's messages, over all sockets.

    Attributes:
        anonymous: slots of sockets before sign-in.
        slots: slots of sockets after it.
        meters: the rates of users' messages.
        unread_chars: the characters of unread large answers, by user.
    """

    def __init__(self, *, total: int, per_user: int, messages_per_second: int) -> None:
        self.anonymous = AnonymousSockets()
        self.slots = Shares(total, per_user, unit="sockets", reason=Reason.SOCKETS)
        self.meters = Meters(messages_per_second * BURST_SECONDS, messages_per_second)
        self.unread_chars: Counter[str] = Counter()

    def full(self) -> GatewayError:
        """Return the error for a socket without a free slot."""
        message = f"The gateway has reached its limit of {self.slots.total:,} sockets at a time. Retry."
        return Overloaded(message, reason=Reason.SOCKETS, retry_after_seconds=RETRY_SECONDS)

    @contextmanager
    def unread(self, user_id: str, size: int) -> Iterator[None]:
        """Count an answer of ``size`` characters as unread until the context ends. An only one is always accepted.

        Raises:
            RateLimited: the user has too many unread characters.
            Overloaded: all users together have.
        """
        held = self.unread_chars[user_id]
        if held and held + size > MAX_UNREAD:
            message = f"{held} characters of your answers are unread. Read them, then retry."
            raise RateLimited(message, reason=Reason.UNREAD, retry_after_seconds=RETRY_SECONDS)
        if held and self.unread_chars.total() + size > MAX_ALL_UNREAD:
            message = "Too much memory holds answers that clients have not read. Retry."
            raise Overloaded(message, reason=Reason.UNREAD, retry_after_seconds=RETRY_SECONDS)
        self.unread_chars[user_id] += size
        try:
            yield
        finally:
            self.unread_chars[user_id] -= size
            if not self.unread_chars[user_id]:
                del self.unread_chars[user_id]
