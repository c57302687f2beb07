"""Caches of the ids that pages have shown to a user, and of those that a user's requests have created."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clients.bounded import OwnerCache
from clients.letta.messages import MessageRecord

MAX_CREATED, MAX_ALL_CREATED, CREATED_KEPT_FOR = 5_000, 200_000, timedelta(hours=1)
"""The most created ids of one user and of all, and the time for which they are kept after the user's last."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ShownIds:
    """The Letta ids that pages have shown to each user: a page after one of them needs no read to check the cursor."""

    def __init__(self, in_all: int = 20_000, each: int = 2_500) -> None:
        self._ids: OwnerCache[str] = OwnerCache(in_all, each)

    def keep(self, user_id: str, message: MessageRecord) -> None:
        """Keep a stored message's id; that of a user message also by its ``otid``."""
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
    """The ids that one user's requests have created, with their times, and the time of the newest evicted id."""

    ids: dict[str, datetime] = field(default_factory=dict)
    last: datetime = _LONG_AGO
    evicted: datetime = _LONG_AGO


class CreatedIds:
    """The Letta ids of conversations and passages that requests of this process have created.

    Past ``each`` ids of one user, or ``in_all`` of all, a new id evicts the same user's oldest.
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
        """Whether a request of the user has created an object."""
        created = self._users.get(user_id)
        return created is not None and letta_id in created.ids

    def knows_all(self, user_id: str, agent_id: str, since: datetime) -> bool:
        """Whether all ids are known that the user's requests have created for an agent since a time.

        They are not if an id was evicted or a request is running, whose id is not known yet.
        """
        created = self._users.get(user_id)
        evicted = _LONG_AGO if created is None else created.evicted
        return agent_id not in self._creating and evicted < since and since > self._clock() - self._kept_for
