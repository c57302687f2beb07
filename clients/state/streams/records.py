"""The store of streams that all replicas share.

The store keeps bytes. A stream is a record and a log of numbered entries. The numbers begin at 1. One replica appends
to a stream: the stream's *holder*, which has the upstream call. The holder has a *lease* with a fencing token. After
another replica has taken the stream over, the store refuses the earlier holder's appends.

``clients.state.streams.store.StreamStore`` has the operations.
"""

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import NewType

import msgspec

from clients.origin import Owner

Token = NewType("Token", int)
"""A stream's fencing token. Only a store makes tokens. A stream's next holder has a larger token."""


class StreamState(StrEnum):
    """Whether a stream still runs, and whether the stream's entries can be read."""

    RUNNING = "running"
    ENDED = "ended"
    EVICTED = "evicted"
    """The stream has ended, and the entries were removed to make room. The record and the key remain until the end of
    the retention."""


class NewStream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that is about to start.

    Attributes:
        key: the owner's stream key or idempotency key; ``None`` for a request that cannot be repeated.
        fingerprint: the digest of the request. The store only returns the digest.
        conversation: the conversation of a turn. A message reports the new turn to other replicas.
        is_retained: whether the stream can be read after its end.
        terms: the stream's unchanging facts, in the hub's encoding.
        recipe: what another replica needs to take the stream over. An append can replace the recipe.
    """

    id: str
    owner: Owner
    key: str | None = None
    fingerprint: str = ""
    conversation: str | None = None
    is_retained: bool = True
    terms: bytes = b""
    recipe: bytes = b""


class StreamRecord(NewStream, frozen=True, kw_only=True):
    """A stream in the store. Times are Unix times of the store's clock, in seconds.

    Attributes:
        holder: the id of the replica that appends; empty if a draining replica has released the stream.
        token: the holder's fencing token.
        length: the number of entries in the store.
        is_cancelled: whether a client has cancelled the stream. The holder, or the next holder, ends the stream.
        outcome: how the stream ended, in the hub's encoding; ``None`` while the stream runs.
        first_began: when the key's first stream began. If the stream has replaced an earlier stream with the same key,
            this is before ``started_at``.
        expires_at: when the store removes the ended stream; ``None`` while the stream runs.
    """

    holder: str
    token: Token
    state: StreamState
    length: int
    is_cancelled: bool
    outcome: bytes | None
    started_at: float
    first_began: float
    expires_at: float | None

    @property
    def has_replaced(self) -> bool:
        """Return whether the stream has replaced an earlier stream with the same key."""
        return self.first_began < self.started_at


class Lease(msgspec.Struct, frozen=True):
    """The right to append to a stream. Only a store makes leases."""

    owner: Owner
    stream_id: str
    token: Token


class Opened(msgspec.Struct, frozen=True):
    """The stream was created, and the key, if any, was claimed."""

    record: StreamRecord
    lease: Lease


class Taken(msgspec.Struct, frozen=True):
    """The key belongs to an earlier stream. Nothing was created."""

    record: StreamRecord


class OverLimit(msgspec.Struct, frozen=True):
    """The owner has as many running streams, on all replicas, as the limit allows. Nothing was created."""

    running: int


class OverQuota(msgspec.Struct, frozen=True):
    """The owner's running streams fill the owner's share of the store. Nothing was created."""


class AppendStatus(Enum):
    """What the store did with an append."""

    STORED = "stored"
    """All entries are in the store, and the end too if the append had an end; or the stream was evicted."""
    BEHIND = "behind"
    """The store has lost entries; nothing was stored. Append again, from the store's length."""
    FENCED = "fenced"
    """Another replica has taken the stream over, or the stream was released or removed by its holder; nothing was
    stored. Close the upstream call, and follow the stream."""
    MISSING = "missing"
    """The store has lost the record; nothing was stored. Call ``restore``, and append from 0."""
    OVER_QUOTA = "over quota"
    """The owner's streams fill the owner's share of the store; nothing was stored. Append the end only: a stream's end
    always has room."""


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """Entries to append.

    Attributes:
        after: the number of entries before the first of ``entries``. Entries that the store has already are skipped, so
            an append with an unknown outcome can be repeated.
        outcome: ends the stream after ``entries``, if it is not ``None``. The first outcome counts.
        is_retained: if false, the ended stream is removed soon, as if ``NewStream.is_retained`` were false, and the key
            is free at once.
        recipe: replaces the recipe, if it is not ``None``.
    """

    lease: Lease
    after: int
    entries: Sequence[bytes] = ()
    outcome: bytes | None = None
    is_retained: bool = True
    recipe: bytes | None = None


class Appended(msgspec.Struct, frozen=True):
    """The answer to an append. ``length`` is the number of entries in the store.

    ``is_cancelled`` is true if a client has cancelled the stream.
    """

    status: AppendStatus
    length: int
    is_cancelled: bool = False


class Page(msgspec.Struct, frozen=True):
    """Consecutive entries of a stream. The first entry has the number ``after + 1``.

    ``outcome`` is set if the stream has ended and ``entries`` includes the last entry.
    """

    after: int
    entries: list[bytes]
    outcome: bytes | None = None
