"""Limits for all WebSockets: on sockets, on messages per second, and on unread answers."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.meters import Meters
from app.shares import RETRY_SECONDS, Shares
from clients.codes import Reason
from clients.errors import GatewayError, Overloaded, RateLimited

MAX_ANONYMOUS = 500
"""Maximum number of open WebSockets before sign-in, for all addresses together.

If a further socket opens, the gateway closes the oldest.
"""

MAX_ANONYMOUS_PER_ADDRESS = 100
"""Maximum number of open WebSockets before sign-in, for one address.

If a further socket opens, the gateway closes the oldest.
"""

MAX_UNREAD = 32 * 2**20
"""Maximum total length of one user's large unread answers over all sockets, in bytes."""

MAX_ALL_UNREAD = 8 * MAX_UNREAD
"""Maximum total length of all users' large unread answers, in bytes."""

BURST_SECONDS = 10
"""A user may send this many seconds' worth of messages in one burst."""


class AnonymousSockets:
    """Slots for WebSockets whose clients have not signed in.

    A new socket is always accepted. If the address or the process has no free slot, the oldest socket is closed.
    Therefore, only clients that do not sign in at once lose their sockets.
    """

    def __init__(self, total: int = MAX_ANONYMOUS, per_address: int = MAX_ANONYMOUS_PER_ADDRESS) -> None:
        self._total, self._per_address = total, per_address
        self._all: OrderedDict[object, str] = OrderedDict()
        self._of: dict[str, OrderedDict[object, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def join(self, address: str, close: Callable[[], None]) -> Callable[[], None]:
        """Take a slot for a WebSocket whose client has not signed in.

        Args:
            address: the client's address.
            close: closes the socket. Called if a newer socket needs the slot.

        Returns:
            A function that frees the slot. A second call does nothing.
        """
        if len(self._of.get(address, ())) >= self._per_address:
            self._evict(next(iter(self._of[address])))
        elif len(self._all) >= self._total:
            self._evict(next(iter(self._all)))
        slot = object()
        self._all[slot] = address
        self._of.setdefault(address, OrderedDict())[slot] = close
        return lambda: self._leave(slot)

    def _evict(self, slot: object) -> None:
        close = self._of[self._all[slot]][slot]
        self._leave(slot)
        close()

    def _leave(self, slot: object) -> None:
        address = self._all.pop(slot, None)
        if address is None:
            return
        del self._of[address][slot]
        if not self._of[address]:
            del self._of[address]


class Sockets:
    """The limits that all WebSockets of the process share.

    Args:
        total: the maximum number of signed-in sockets.
        per_user: the maximum number of one user's sockets.
        messages_per_second: the rate limit of one user's messages, over all sockets.

    Attributes:
        anonymous: slots for sockets before sign-in.
        slots: slots for sockets after sign-in.
        meters: the rate limits of users' messages.
        unread_bytes: the bytes of each user's large unread answers.
    """

    def __init__(self, *, total: int, per_user: int, messages_per_second: int) -> None:
        self.anonymous = AnonymousSockets()
        self.slots = Shares(total, per_user, unit="open WebSockets", reason=Reason.SOCKETS)
        self.meters = Meters(messages_per_second * BURST_SECONDS, messages_per_second)
        self.unread_bytes: Counter[str] = Counter()

    def full(self) -> GatewayError:
        """Return the error for a new WebSocket if all slots are taken."""
        message = f"The gateway has reached its limit of {self.slots.total:,} open WebSockets. Retry later."
        return Overloaded(message, reason=Reason.SOCKETS, retry_after_seconds=RETRY_SECONDS)

    @contextmanager
    def unread(self, user_id: str, size: int) -> Iterator[None]:
        """Count an answer as unread until the ``with`` block ends.

        A user's first unread answer is always accepted.

        Raises:
            RateLimited: the user has too many unread bytes.
            Overloaded: all users together have too many unread bytes.
        """
        held = self.unread_bytes[user_id]
        if held and held + size > MAX_UNREAD:
            message = f"Your clients have not read {held:,} bytes of answers. Read the answers, then retry."
            raise RateLimited(message, reason=Reason.UNREAD, retry_after_seconds=RETRY_SECONDS)
        if held and self.unread_bytes.total() + size > MAX_ALL_UNREAD:
            message = "Unread answers of all users fill the gateway's memory. Retry later."
            raise Overloaded(message, reason=Reason.UNREAD, retry_after_seconds=RETRY_SECONDS)
        self.unread_bytes[user_id] += size
        try:
            yield
        finally:
            self.unread_bytes[user_id] -= size
            if not self.unread_bytes[user_id]:
                del self.unread_bytes[user_id]
