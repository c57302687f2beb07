"""Limits that WebSockets share: slots of sockets, messages a second, unread answers."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.meters import Meters
from app.shares import RETRY_SECONDS, Shares
from clients.codes import Reason
from clients.errors import GatewayError, Overloaded, RateLimited

MAX_ANONYMOUS = 500
"""The most sockets that are not signed in. One more closes the oldest."""

MAX_ANONYMOUS_PER_ADDRESS = 100
"""The most of one address. One more closes the oldest of the address."""

MAX_UNREAD = 32 * 2**20
"""The characters of large answers of one user, over all sockets, that wait until the client reads."""

MAX_ALL_UNREAD = 8 * MAX_UNREAD
"""Those of all users."""

BURST_SECONDS = 10
"""How many seconds' messages a user may send at once."""


class AnonymousSockets:
    """Sockets that are not signed in.

    If there are too many, the oldest is closed, preferably one of the same address, and the new one is accepted: a
    client that signs in at once is served, and one that holds sockets open without signing in loses them.

    Args:
        total: slots in all.
        per_address: the most that one address has.
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
            give_up: called when the slot is needed for a newer socket.

        Returns:
            A function that gives the slot back; the second call does nothing.
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
    """What the WebSockets of the process share.

    Args:
        total: the most sockets that are signed in.
        per_user: the most of one user.
        messages_per_second: the rate limit of one user's messages, over all sockets.

    Attributes:
        anonymous: slots of sockets before sign-in.
        slots: slots of sockets after it.
        meters: the rates of users' messages.
        unread_chars: the characters of large answers that wait to be read, by user.
    """

    def __init__(self, *, total: int, per_user: int, messages_per_second: int) -> None:
        self.anonymous = AnonymousSockets()
        self.slots = Shares(total, per_user, what="sockets", reason=Reason.SOCKETS)
        self.meters = Meters(messages_per_second * BURST_SECONDS, messages_per_second)
        self.unread_chars: Counter[str] = Counter()

    def full(self) -> GatewayError:
        """Return the error for a socket that finds no slot free."""
        message = f"The gateway has reached its limit of {self.slots.total:,} sockets at a time. Retry."
        return Overloaded(message, reason=Reason.SOCKETS, retry_after_seconds=RETRY_SECONDS)

    @contextmanager
    def unread(self, user_id: str, size: int) -> Iterator[None]:
        """Count an answer of ``size`` characters while it waits to be read. A user's only one is always accepted.

        Raises:
            RateLimited: the user's clients read too slowly.
            Overloaded: the clients of all users together do.
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
