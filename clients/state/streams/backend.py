"""The operations of a place that stores streams: Redis, or the memory of tests."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from clients.origin import Owner
from clients.state.streams.records import (
    Append,
    Appended,
    Lease,
    NewStream,
    Opened,
    OverLimit,
    OverQuota,
    Page,
    StreamRecord,
    StreamState,
    Taken,
    Token,
)

RELEASED = ""
"""The holder of streams that a draining replica has released."""

LINGER_SECONDS = 10.0
"""How long an ended stream stays in the store for its readers if the stream is not retained, in seconds."""

RECORD_BYTES = 1024
"""The approximate memory of a record without its terms and recipe, in bytes."""

ENTRY_BYTES = 32
"""The approximate overhead of an entry in the store, in bytes."""

QUOTA_STEP = 64 * 1024
"""An owner's quota is checked when a stream opens, and after each such number of bytes in a stream."""


class LogLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the stored streams. Times are in seconds.

    Attributes:
        retention: how long a stream can be read after its end.
        running: how long a running stream stays in the store if no replica renews the stream.
        owner_bytes: the maximum size of one owner's streams in the store, in bytes.
        max_listed: the maximum number of one owner's streams in the store. To make room, the oldest ended streams are
            evicted.
        lease: how long a replica lives without a heartbeat.
    """

    retention: float = 300.0
    running: float = 900.0
    owner_bytes: int = 64 * 1024 * 1024
    max_listed: int = 500
    lease: float = 3.0


class Attendance(msgspec.Struct, frozen=True):
    """The holder of a stream, and the replicas that have registered readers."""

    holder: str
    replicas: frozenset[str]


class Beat(msgspec.Struct, frozen=True):
    """The answer to a heartbeat. Times are milliseconds of the store's clock.

    Attributes:
        now: the time.
        expired_at: when this replica's earlier heartbeat expires or has expired; ``None`` if the store has no earlier
            heartbeat.
        living: all replicas with a valid heartbeat, including this one.
        dead: replicas without a valid heartbeat.
        listed: the number of streams in the set of streams that this replica holds.
        has_lost_data: whether the store has lost its data in the time of a stream's retention.
    """

    now: float
    expired_at: float | None
    living: frozenset[str]
    dead: frozenset[str]
    listed: int
    has_lost_data: bool = False


class Place(msgspec.Struct, frozen=True):
    """The position of a reader in a stream."""

    owner: Owner
    stream_id: str
    after: int


class LogBackend(Protocol):
    """Stores streams on behalf of one replica.

    Each method is atomic, and can be repeated. A method that awaits raises StateUnavailable if the store does not
    answer. ``clients.state.streams.store.StreamStore`` documents the methods of the same name.
    """

    replica: str
    limits: LogLimits

    def on_available(self, listener: Callable[[], None]) -> None:
        """Call a listener whenever the store can be used again."""

    async def recovered(self, within: float) -> bool:
        """Wait until the store can be used again, at most until ``within`` seconds after the failure.

        Return whether the store can be used.
        """

    async def open(
        self, stream: NewStream, *, max_running: int, replacing: str | None
    ) -> Opened | Taken | OverLimit | OverQuota:
        """Claim the stream's key and create the stream."""

    async def restore(self, stream: NewStream, token: Token | None) -> tuple[Lease, int] | None:
        """Create the record of a stream that runs already. Return the lease and the number of entries."""

    async def find(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        """Return a stream."""

    async def at_key(self, owner: Owner, key: str) -> StreamRecord | None:
        """Return a key's stream."""

    async def of(self, owner: Owner) -> list[StreamRecord]:
        """Return an owner's streams."""

    async def remove(self, lease: Lease) -> None:
        """Remove a stream."""

    async def append(self, appends: Sequence[Append], *, renews: bool = False) -> list[Appended]:
        """Append to several streams. ``renews`` postpones the expiry of running streams."""

    async def read(self, place: Place, count: int) -> Page | None:
        """Return a stream's entries, or ``None`` if the stream does not exist or was evicted."""

    async def attend(self, owner: Owner, stream_id: str) -> Attendance | None:
        """Register this replica's readers of a stream."""

    async def leave(self, owner: Owner, stream_id: str) -> Attendance | None:
        """End the registration of this replica's readers of a stream."""

    async def attendance(self, owner: Owner, stream_id: str) -> Attendance | None:
        """Return the replicas with readers of a stream."""

    async def cancel(self, owner: Owner, stream_id: str) -> StreamRecord | None:
        """Mark a running stream as cancelled."""

    async def take_over(self, record: StreamRecord) -> Opened | None:
        """Become the holder of a stream."""

    async def release(self, lease: Lease) -> None:
        """Make ``RELEASED`` the holder of a running stream."""

    # Replicas

    async def beat(self, *, again: bool) -> Beat:
        """Store this replica's heartbeat. ``again`` is whether the store has had a heartbeat of this replica before."""

    async def hold(self, leases: Sequence[Lease]) -> None:
        """Add streams to the set of streams that this replica holds."""

    async def listed(self) -> list[tuple[Owner, str]]:
        """Return the set of streams that this replica holds, as far as the store knows."""

    async def unlist(self, owner: Owner, stream_id: str) -> None:
        """Remove a stream from the set of streams that this replica holds."""

    async def retire(self) -> None:
        """Let this replica's heartbeat expire now."""

    async def held_by(self, replica: str, count: int) -> list[StreamRecord]:
        """Return some of a replica's running streams, in random order. Remove a dead replica without streams."""

    # Followers

    async def states(self, places: Sequence[Place]) -> list[tuple[StreamState | None, int]]:
        """Return each stream's state, or ``None`` if the stream does not exist, and its number of entries."""

    async def next_pages(self, places: Sequence[Place], count: int) -> list[tuple[Place, Page]]:
        """Wait until streams have entries after the given places, and return at most ``count`` entries of each.

        The wait ends after ``wake``, and after about a second. Only one task may call this method.
        """

    def wake(self) -> None:
        """End the current wait of ``next_pages``, or the next wait."""

    async def aclose(self) -> None:
        """Close the connection for ``next_pages``."""
