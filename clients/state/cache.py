"""What the cache shares with other replicas: the versions of each user's tags, and the records.

A tag stands for a part of a user's data. A mutation changes the version of its tags before the mutation answers. A
record is stored with the versions that were read before the record's load began. So a reader whose versions are newer
never receives the record.
"""

import itertools
import secrets
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from clients.bounded import Lru

MAX_OWNERS = 100_000
"""The maximum number of users whose versions the process stores. A user without versions gets new ones."""


class Tag(StrEnum):
    """The parts of a user's data that mutations change."""

    PROFILE = "profile"
    AGENTS = "agents"
    CONVERSATIONS = "conversations"
    TEMPLATES = "templates"
    SPEND = "spend"


class Versions(msgspec.Struct, frozen=True):
    """The versions of one user's tags at one moment.

    ``epoch`` is a random id. If the versions are lost, the next versions have a new epoch, so no old record matches.
    ``of_tags`` has a unique id for each tag that has been dropped. ``is_shared`` is false if the versions are this
    process's own, because Redis is unavailable.
    """

    epoch: str
    of_tags: Mapping[str, str] = {}
    is_shared: bool = True

    def of(self, tags: Iterable[Tag]) -> str:
        """Return the version of a record with the given tags."""
        version = self.epoch
        for tag in tags:
            version += "." + self.of_tags.get(tag, "0")
        return version


class Place(NamedTuple):
    """Where a record is stored. A record with another version is never returned."""

    owner: str
    name: str
    tags: tuple[Tag, ...]
    version: str


class SharedRecord(NamedTuple):
    """A record that a replica has stored. ``age`` is the time since the record's load began, in seconds."""

    value: bytes
    age: float


class Claim(NamedTuple):
    """The answer to a replica that wants to load a record.

    If ``is_granted`` is true, no other replica loads the record. ``found`` is the stored record, if there is one.
    """

    is_granted: bool
    found: SharedRecord | None = None


class CacheStore(Protocol):
    """Stores versions and records for all replicas. No method raises an error if the store is unavailable.

    ``has_records`` is false if the store has only versions, because there are no other replicas.
    """

    has_records: bool

    def is_behind(self, owner: str) -> bool:
        """Return whether the store has not received a change of the user's versions."""

    async def versions(self, owner: str) -> Versions:
        """Return the versions of a user's tags."""

    async def drop(self, owner: str, tags: Iterable[Tag]) -> None:
        """Change the versions of a user's tags. Afterwards, no reader receives a record that was loaded before."""

    async def get(self, place: Place) -> SharedRecord | None:
        """Return the record, if there is one with the place's version."""

    async def claim(self, place: Place, token: str) -> Claim:
        """Ask to load a record, as the only replica. The token names the replica's load."""

    async def put(self, place: Place, value: bytes, age: float, token: str) -> None:
        """Store a record, unless the versions have changed. End the claim of ``token``."""

    async def release(self, place: Place, token: str) -> None:
        """End the claim of ``token`` after a failed load."""


class MemoryCacheStore:
    """Stores the versions of users' tags in memory, for a process without replicas. Each replica caches the records."""

    has_records = False

    def __init__(self, max_owners: int = MAX_OWNERS) -> None:
        self._versions: Lru[str, Versions] = Lru(max_owners)
        self._changes = itertools.count(1)

    def is_behind(self, owner: str) -> bool:  # noqa: ARG002 - the store is the process's memory
        """Return false."""
        return False

    async def versions(self, owner: str) -> Versions:
        """Return the versions of a user's tags."""
        return self._of(owner)

    async def drop(self, owner: str, tags: Iterable[Tag]) -> None:
        """Change the versions of a user's tags."""
        before = self._of(owner)
        changed: dict[str, str] = dict.fromkeys(tags, f"{next(self._changes):x}")
        self._versions.put(owner, Versions(before.epoch, {**before.of_tags, **changed}))

    async def get(self, place: Place) -> SharedRecord | None:  # noqa: ARG002 - there are no records
        """Return ``None``."""
        return None

    async def claim(self, place: Place, token: str) -> Claim:  # noqa: ARG002 - there are no other replicas
        """Grant the claim."""
        return Claim(is_granted=True)

    async def put(self, place: Place, value: bytes, age: float, token: str) -> None:
        """Do nothing."""

    async def release(self, place: Place, token: str) -> None:
        """Do nothing."""

    def _of(self, owner: str) -> Versions:
        found = self._versions.get(owner)
        if found is None:
            found = Versions(secrets.token_hex(16))
            self._versions.put(owner, found)
        return found
