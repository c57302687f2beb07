"""Caches of ids: of what pages have shown to a user lately, and of what a user's requests have created."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clients.bounded import OwnerCache
from clients.letta.messages import MessageRecord

MAX_CREATED, MAX_ALL_CREATED, CREATED_KEPT_FOR = 5_000, 200_000, timedelta(hours=1)
"""How many created ids are kept of one user and of all, and for how long after the user's last."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ShownIds:
    """The Letta ids that pages have shown to each user lately: the next page from there needs no further read.

    An id that is not here is read again, for example by another replica or after a restart.
    """

    def __init__(self, in_all: int = 20_000, each: int = 2_500) -> None:
        self._ids: OwnerCache[str] = OwnerCache(in_all, each)

    def keep(self, user_id: str, message: MessageRecord) -> None:
        """Keep a stored message's id, and the id of a user's message by its ``otid`` as well."""
        if message.letta_id:
            self.remember(user_id, message.conversation, message.letta_id)
        if message.letta_id and message.otid and message.is_known_by_otid:
            self.remember(user_id, message.conversation, message.letta_id, message.otid)

    def remember(self, user_id: str, list_id: str, letta_id: str, name: str | None = None) -> None:
        """Keep the id of an item of a list: a message of a conversation, or a passage of an agent."""
        self._ids.put(user_id, f"{list_id}\n{name or letta_id}", letta_id)

    def find(self, user_id: str, list_id: str, otid: str) -> str | None:
        """Return the Letta id of a user message, if it is kept."""
        return self._ids.get(user_id, f"{list_id}\n{otid}")

    def has(self, user_id: str, list_id: str, letta_id: str) -> bool:
        """Whether the item of a Letta id is kept."""
        return self.find(user_id, list_id, letta_id) == letta_id


@dataclass(slots=True)
class _Created:
    """The ids that one user's requests have created, each with its time.

    Attributes:
        ids: the time of each id, the oldest first.
        last: the time of the newest id.
        evicted: the time of the newest id that was evicted.
    """

    ids: dict[str, datetime] = field(default_factory=dict)
    last: datetime = _LONG_AGO
    evicted: datetime = _LONG_AGO


class CreatedIds:
    """The Letta ids of conversations and passages that requests of this process have created.

    A user's newer ids evict the same user's oldest.

    Args:
        each: how many ids of one user are kept.
        in_all: how many ids of all users are kept before each new one evicts that user's oldest.
        kept_for: how long the ids of a user are kept after the last one.
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
        self._users: OrderedDict[str, _Created] = OrderedDict()
        self._count = 0
        self._creating: Counter[str] = Counter()

    @contextmanager
    def creating(self, agent_id: str) -> Iterator[None]:
        """Count a request that creates an object of an agent, until its ids are known."""
        self._creating[agent_id] += 1
        try:
            yield
        finally:
            self._creating[agent_id] -= 1
            if not self._creating[agent_id]:
                del self._creating[agent_id]

    def add(self, user_id: str, letta_id: str) -> None:
        """Note that a request of the user has created an object."""
        now = self._clock()
        created = self._users.setdefault(user_id, _Created())
        self._count += letta_id not in created.ids
        created.ids[letta_id] = created.last = now
        self._users.move_to_end(user_id)
        if len(created.ids) > self._each or (self._count > self._in_all and len(created.ids) > 1):
            created.evicted = created.ids.pop(next(iter(created.ids)))
            self._count -= 1
        while (oldest := next(iter(self._users))) and self._users[oldest].last + self._kept_for < now:
            self._count -= len(self._users.pop(oldest).ids)

    def has(self, user_id: str, letta_id: str) -> bool:
        """Whether a request of the user is known to have created an object."""
        created = self._users.get(user_id)
        return created is not None and letta_id in created.ids

    def knows_all(self, user_id: str, agent_id: str, since: datetime) -> bool:
        """Whether all ids are known that the user's requests have created for an agent since a time.

        They are not if an id was evicted, or if a request is running: a new object may be its own.
        """
        created = self._users.get(user_id)
        evicted = _LONG_AGO if created is None else created.evicted
        return agent_id not in self._creating and evicted < since and since > self._clock() - self._kept_for
