"""The records that the process has cached, by user. Each user has a quota."""

import msgspec

from clients.bounded import Kept, Quotas

OWNERS = 8
"""One user's records may use this fraction of the cache's memory: an eighth."""

OVERHEAD_BYTES = 500
"""The approximate memory of an entry without its name and value."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An encoded record. The record's load began at ``began``, and the record is of no use after ``until``."""

    version: str
    value: bytes
    began: float
    until: float


class Entries:
    """A bounded map of entries by user and name. ``limit`` is the maximum memory of all entries, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._quotas = Quotas(limit, limit // OWNERS)
        self._kept: Kept[Entry] = Kept(self._quotas, lambda _: 0)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def memory(self) -> int:
        """The approximate memory of all entries, in bytes."""
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
        self._kept.put(owner, name, entry, weight)
        while self._quotas.total > self._limit and (oldest := self._kept.oldest()) is not None:
            self._kept.pop(oldest[0], oldest[1])

    def remove(self, owner: str, name: str) -> None:
        """Remove an entry, if there is one."""
        self._kept.pop(owner, name)

    def expire(self, now: float) -> None:
        """Remove the entries that are of no use any more."""
        for owner, name, entry in self._kept.items():
            if entry.until <= now:
                self._kept.pop(owner, name)
