"""The types of reads through the cache."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from clients.state.cache import Place, Tag
from clients.stored import Stored
from resolvers.cache.kinds import Kind
from resolvers.cache.stale import Stale

V = TypeVar("V")


class Loaded(NamedTuple, Generic[V]):
    """A record from a service. The call began at ``began`` (the cache's clock)."""

    value: V
    began: float


class Read(NamedTuple, Generic[V]):
    """A record for a reader. ``stale`` is ``None`` if the record is fresh."""

    value: V
    began: float
    stale: Stale | None = None


Load = Callable[[], Awaitable[Loaded[V]]]
"""Calls a service."""


class Source(NamedTuple, Generic[V]):
    """How a record is read from its service.

    Attributes:
        stored: encodes the record.
        load: calls the service for an operation.
        refresh: calls the service in the background. If it is ``None``, the reader needs a fresh record.
        keeps: whether a loaded record can be cached.
        deadline: when the operation ends (``time.monotonic``). If it is ``None``, there is no deadline.
    """

    stored: Stored[V]
    load: Load[V]
    refresh: Load[V] | None = None
    keeps: Callable[[V], bool] = lambda _: True
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted(Generic[V]):
    """A record that a reader wants.

    Attributes:
        fresh: the age, in seconds, below which the record is fresh.
        is_shared: whether replicas share the record.
    """

    kind: Kind
    place: Place
    source: Source[V]
    fresh: float
    is_shared: bool


class Outcome(StrEnum):
    """How a record was read."""

    HIT = "hit"
    """From the process's memory."""
    SHARED = "shared"
    """From Redis."""
    LOADED = "loaded"
    """By a call, or from another replica's call."""
    JOINED = "joined"
    """By a call of another operation of this process."""
    REVALIDATING = "revalidating"
    """From the cache, while a call in the background reads the record again."""
    STALE = "stale"
    """From the cache, because the call failed or is slow."""
    FAILED = "failed"
    """The call failed, and no record replaces it."""


class CacheMetrics(Protocol):
    """The metrics of the cache."""

    def cache_read(self, kind: str, outcome: Outcome) -> None:
        """Count a read of a kind of records."""

    def cache_dropped(self, tag: Tag) -> None:
        """Count a tag that was dropped."""
