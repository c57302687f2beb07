"""Caches the Letta ids of objects that users have read or created."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clients.bounded import OwnerCache
from clients.letta.messages import MessageRecord

MAX_CREATED, MAX_ALL_CREATED, CREATED_KEPT_FOR = 5_000, 200_000, timedelta(hours=1)
"""The maximum number of ids per user and in total, and the time for which ids are kept."""

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class ShownIds:
    """Caches the Letta ids in the cursors that each user has read. The gateway does not check such a cursor."""

    def __init__(self, in_all: int = 20_000, each: int = 2_500) -> None:
        self._ids: OwnerCache[str] = OwnerCache(in_all, each)

    def add_message(self, user_id: str, message: MessageRecord) -> None:
        """Add a stored message's Letta id. For a user message, add the ``otid`` too."""
        if message.letta_id:
            self.add(user_id, message.conversation, message.letta_id)
        if message.letta_id and message.otid and message.is_known_by_otid:
            self.add(user_id, message.conversation, message.letta_id, message.otid)

    def add(self, user_id: str, list_id: str, letta_id: str, name: str | None = None) -> None:
        """Add the Letta id of a message or a passage."""
        self._ids.put(user_id, f"{list_id}\n{name or letta_id}", letta_id)

    def find(self, user_id: str, list_id: str, otid: str) -> str | None:
        """Return the Letta id for a user message's ``otid``, or ``None`` if the id is not cached."""
        return self._ids.get(user_id, f"{list_id}\n{otid}")

    def has(self, user_id: str, list_id: str, letta_id: str) -> bool:
        """Return whether the user has read a cursor with the Letta id."""
        return self.find(user_id, list_id, letta_id) == letta_id


@dataclass(slots=True)
class _Created:
    """The ids of objects that one user's requests have created, with the creation times."""

    ids: dict[str, datetime] = field(default_factory=dict)
    last: datetime = _LONG_AGO
    evicted: datetime = _LONG_AGO


class CreatedIds:
    """Caches the Letta ids of conversations and passages that requests to this process have created.

    If a user has more than ``each`` ids, or all users have more than ``in_all``, a new id evicts the user's oldest id.
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
        """Return a context manager for a request that creates an object for an agent."""
        self._creating[agent_id] += 1
        try:
            yield
        finally:
            self._creating[agent_id] -= 1
            if not self._creating[agent_id]:
                del self._creating[agent_id]

    def add(self, user_id: str, letta_id: str) -> None:
        """Record the Letta id of an object that a user's request has created."""
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
        """Return whether one of the user's requests has created the object with the Letta id."""
        created = self._users.get(user_id)
        return created is not None and letta_id in created.ids

    def knows_all(self, user_id: str, agent_id: str, since: datetime) -> bool:
        """Return whether the cache has every object that the user created for an agent after ``since``.

        An id is missing if it was evicted, or if the request that creates the object is still running.
        """
        created = self._users.get(user_id)
        evicted = _LONG_AGO if created is None else created.evicted
        return agent_id not in self._creating and evicted < since and since > self._clock() - self._kept_for
