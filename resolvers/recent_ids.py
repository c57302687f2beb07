"""What is remembered of what pages have shown; users' messages have an id of their own before Letta gives them one."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clients.bounded import OwnerCache
from clients.letta.messages import MessageRecord, UserMessage

MAX_CREATED, MAX_ALL_CREATED, CREATED_KEPT_FOR = 5_000, 200_000, timedelta(hours=1)
"""How many ids of what was made for one user and for all are kept, and for how long after the user's last."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def is_sent(message: MessageRecord) -> bool:
    """Whether it is known by its ``otid``: a user's message, whose sender chose that before Letta had stored it."""
    return isinstance(message, UserMessage) and bool(message.otid)


class ShownIds:
    """The Letta ids of what pages have shown lately to each user, so that paging on from there costs no look-up.

    What is not here is found again: another replica, or this one after a restart, only takes longer.
    """

    def __init__(self, in_all: int = 20_000, each: int = 2_500) -> None:
        self._ids: OwnerCache[str] = OwnerCache(in_all, each)

    def keep(self, user_id: str, message: MessageRecord) -> None:
        """Remember a stored message, a user's by its ``otid`` as well."""
        if message.letta_id:
            self.remember(user_id, message.scope, message.letta_id)
        if message.letta_id and message.otid and is_sent(message):
            self.remember(user_id, message.scope, message.letta_id, message.otid)

    def remember(self, user_id: str, scope: str, letta_id: str, name: str | None = None) -> None:
        """Remember what is in a list: a message of a conversation, a passage of an agent."""
        self._ids.put(user_id, f"{scope}\n{name or letta_id}", letta_id)

    def find(self, user_id: str, scope: str, otid: str) -> str | None:
        """The Letta id of a user message, if it is remembered."""
        return self._ids.get(user_id, f"{scope}\n{otid}")

    def has(self, user_id: str, scope: str, letta_id: str) -> bool:
        """Whether something of that Letta id has been seen there."""
        return self.find(user_id, scope, letta_id) == letta_id


@dataclass(slots=True)
class _Made:
    """The ids made for one user, each with its time.

    Attributes:
        ids: the time of each id, the oldest first.
        last: the time of the newest id.
        forgotten: the time of the newest id that was evicted.
    """

    ids: dict[str, datetime] = field(default_factory=dict)
    last: datetime = _LONG_AGO
    forgotten: datetime = _LONG_AGO


class CreatedIds:
    """The Letta ids of conversations and passages that this process was answered: each is of one request.

    A user's newer ids evict the user's own oldest, and nobody else's.

    Args:
        each: how many ids of one user are kept.
        in_all: past how many of all users a user's oldest is evicted for each that is new.
        kept_for: how long those of a user are kept after the last one.
        clock: the time in UTC.
    """

    def __init__(
        self,
        each: int = MAX_CREATED,
        in_all: int = MAX_ALL_CREATED,
        kept_for: timedelta = CREATED_KEPT_FOR,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._each = each
        self._in_all = in_all
        self._kept_for = kept_for
        self._clock = clock
        self._users: OrderedDict[str, _Made] = OrderedDict()
        self._count = 0
        self._creating: Counter[str] = Counter()

    @contextmanager
    def creating(self, agent_id: str) -> Iterator[None]:
        """Count a request that makes something of an agent's, until its ids are known."""
        self._creating[agent_id] += 1
        try:
            yield
        finally:
            self._creating[agent_id] -= 1
            if not self._creating[agent_id]:
                del self._creating[agent_id]

    def add(self, user_id: str, letta_id: str) -> None:
        """Remember that a request of the user has made it."""
        now = self._clock()
        made = self._users.setdefault(user_id, _Made())
        self._count += letta_id not in made.ids
        made.ids[letta_id] = made.last = now
        self._users.move_to_end(user_id)
        if len(made.ids) > self._each or (self._count > self._in_all and len(made.ids) > 1):
            made.forgotten = made.ids.pop(next(iter(made.ids)))
            self._count -= 1
        while (oldest := next(iter(self._users))) and self._users[oldest].last + self._kept_for < now:
            self._count -= len(self._users.pop(oldest).ids)

    def has(self, user_id: str, letta_id: str) -> bool:
        """Whether a request of the user has made it, as far as that is remembered."""
        made = self._users.get(user_id)
        return made is not None and letta_id in made.ids

    def knows_all(self, user_id: str, agent_id: str, since: datetime) -> bool:
        """Whether all that was made of an agent of the user's since a time is known.

        It is not where some is forgotten, or a request is under way: what is new may be that request's own.
        """
        made = self._users.get(user_id)
        forgotten = _LONG_AGO if made is None else made.forgotten
        return agent_id not in self._creating and forgotten < since and since > self._clock() - self._kept_for
