"""The records that the process has cached, by user. Each user has a quota."""

from typing import Any, NamedTuple, TypeVar

import msgspec

from clients.bounded import Kept, Quotas
from clients.stored import Stored

V = TypeVar("V")

OWNERS = 8
"""One user's records may use this fraction of the cache's memory: an eighth."""

OVERHEAD_BYTES = 500
"""The approximate memory of an entry without its name and value."""

DECODED_FACTOR = 6
"""The approximate memory of a decoded record, as a multiple of the encoded record's size.

A page of messages takes 1.2 to 1.8 times its encoded size, or 5 times if the texts have emoji. Its completed messages
take up to ``COMPLETED_FACTOR`` times.
"""

DECODED_SECONDS = 60.0
"""The age from which a record is no longer kept decoded, in seconds. Most records are fresh for a shorter time."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An encoded record. The record's load began at ``began``, and the record is of no use after ``until``."""

    version: str
    value: bytes
    began: float
    until: float


class _Decoded(NamedTuple):
    """The record in an entry. It is used only as long as the map has this entry."""

    entry: Entry
    value: Any


class Entries:
    """A bounded map of entries by user and name. ``limit`` is the maximum memory of all entries, in bytes.

    If there is room, the map keeps the decoded records of entries too. An entry never makes room for a decoded record.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._quotas = Quotas(limit, limit // OWNERS)
        self._kept: Kept[Entry] = Kept(self._quotas, lambda _: 0)
        self._decoded: Kept[_Decoded] = Kept(self._quotas, lambda _: 0)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def memory(self) -> int:
        """The approximate memory of all entries and decoded records, in bytes."""
        return self._quotas.total

    def get(self, owner: str, name: str, version: str) -> Entry | None:
        """Return the entry, if there is one with the version."""
        entry = self._kept.get(owner, name)
        return None if entry is None or entry.version != version else entry

    def put(self, owner: str, name: str, entry: Entry) -> None:
        """Store an entry, and evict older entries to make room.

        Entries that are too large are not stored. An entry does not replace an entry whose load began later.
        """
        weight = OVERHEAD_BYTES + len(name) + len(entry.value)
        before = self._kept.get(owner, name)
        is_late = before is not None and before.began >= entry.began
        if is_late or weight > self._quotas.each:
            return
        self.remove(owner, name)
        self._decoded.fit(owner, more=weight)
        self._kept.put(owner, name, entry, weight)
        for kept in (self._decoded, self._kept):
            while self._quotas.total > self._limit and (oldest := kept.oldest()) is not None:
                kept.pop(oldest[0], oldest[1])

    def decoded(self, owner: str, name: str, entry: Entry, stored: Stored[V]) -> V:
        """Return an entry's record. Raises Unreadable."""
        found = self._decoded.get(owner, name)
        if found is not None and found.entry is entry:
            value: V = found.value
            return value
        value = stored.decoded(entry.value)
        self.keep(owner, name, entry, stored, value)
        return value

    def keep(self, owner: str, name: str, entry: Entry, stored: Stored[V], value: V) -> None:
        """Keep an entry's record, if readers can share the record and there is room."""
        if self._kept.get(owner, name) is not entry or not stored.can_share(value):
            return
        weight = OVERHEAD_BYTES + len(name) + DECODED_FACTOR * len(entry.value)
        self._decoded.pop(owner, name)
        if self._can_keep(owner, weight):
            self._decoded.fit(owner, more=weight)
            self._decoded.put(owner, name, _Decoded(entry, stored.shared(value, len(entry.value))), weight)

    def _can_keep(self, owner: str, weight: int) -> bool:
        """Return whether a decoded record has room, if it takes the room of the user's other decoded records.

        If not, the other decoded records must stay: nothing would replace them.
        """
        excess = max(0, self._quotas.held(owner) + weight - self._quotas.each)
        if excess and excess > self._decoded.held(owner):
            return False
        return self._quotas.total - excess + weight <= self._limit

    def remove(self, owner: str, name: str) -> None:
        """Remove an entry, if there is one."""
        self._kept.pop(owner, name)
        self._decoded.pop(owner, name)

    def expire(self, now: float) -> None:
        """Remove the entries that are of no use any more."""
        for owner, name, entry in self._kept.items():
            if entry.until <= now:
                self._kept.pop(owner, name)
        for owner, name, decoded in self._decoded.items():
            if decoded.entry.began + DECODED_SECONDS <= now:
                self._decoded.pop(owner, name)
