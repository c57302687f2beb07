"""Stores running streams, and ended streams that clients can still read."""

from collections import defaultdict
from collections.abc import Callable

from clients.bounded import Kept, Quotas
from clients.codes import Reason
from clients.errors import Conflict, NotFound, Overloaded, RateLimited
from clients.origin import Owner
from resolvers.streams.limits import RETRY_SECONDS
from resolvers.streams.stream import Stream

STREAM_BYTES = 4096
"""The approximate memory of a stream without its log, in bytes."""

WEIGHED_BYTES = 32 * 1024
"""The growth of a running stream's log, in bytes, after which the gateway counts the log's memory again."""

KEY_BYTES = 2048
"""The memory of an ended stream after its answer was evicted, in bytes."""

_MEMORY_RETRY_SECONDS = 10.0
_OVER_QUOTA = "Your streams fill your share of the gateway's memory. End one of your streams first."
_NO_MEMORY = "All users' streams together fill the gateway's memory. Retry later."
_TOO_LARGE = (
    "Your streams exceeded your share of the gateway's memory, so the gateway ended this large stream. Run fewer "
    "streams at a time."
)


def gone() -> NotFound:
    """Return the error for a stream that does not exist or belongs to another user."""
    return NotFound("The stream does not exist or has expired, or you have no permission to read it. Check the id.")


def too_many(limit: int) -> RateLimited:
    """Return the error for an owner who has ``limit`` running streams."""
    message = f"You have {limit} running streams, which is the limit. Wait until a stream ends, or cancel a stream."
    return RateLimited(message, reason=Reason.STREAMS, retry_after_seconds=RETRY_SECONDS)


def over_quota() -> RateLimited:
    """Return the error for an owner whose streams fill the owner's share of the memory."""
    return RateLimited(_OVER_QUOTA, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)


def too_large() -> RateLimited:
    """Return the error that ends a large stream of an owner who is over the quota."""
    return RateLimited(_TOO_LARGE, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)


def reused() -> Conflict:
    """Return the error for a key that was used with different input."""
    message = "The stream key or idempotency key was already used with different input. Use a new key."
    return Conflict(message, reason=Reason.KEY_REUSED)


class StreamRegistry:
    """Finds this process's streams by id, owner or key. ``quotas`` counts the streams' memory.

    If an owner is over the quota, the answers of the owner's oldest ended streams without readers are evicted. The keys
    of these streams cannot be used again. ``on_removed`` is called with each stream that this process removes.
    """

    def __init__(self, quotas: Quotas, on_removed: Callable[[Stream], None] | None = None) -> None:
        self._quotas = quotas
        self._on_removed = on_removed
        self._streams: dict[str, Stream] = {}
        self._by_owner: defaultdict[Owner, dict[str, Stream]] = defaultdict(dict)
        self._by_key: dict[tuple[Owner, str], Stream] = {}
        self._running: defaultdict[Owner, set[str]] = defaultdict(set)
        self._kept: Kept[Stream] = Kept(quotas, self._evict)

    def get(self, stream_id: str, owner: Owner) -> Stream:
        """Return the owner's stream with the given id. Raises NotFound."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.owner != owner:
            raise gone()
        return stream

    def find(self, stream_id: str) -> Stream | None:
        """Return the stream with the given id, of any owner."""
        return self._streams.get(stream_id)

    def of(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first."""
        return list(self._by_owner[owner].values()) if owner in self._by_owner else []

    def all(self) -> list[Stream]:
        """Return all streams."""
        return list(self._streams.values())

    def at_key(self, owner: Owner, key: str) -> Stream | None:
        """Return the stream that was started with the owner's key, without comparing inputs."""
        return self._by_key.get((owner, key))

    def add(self, stream: Stream) -> None:
        """Add a stream that is about to start."""
        self.show(stream)
        self._running[stream.owner].add(stream.id)
        if stream.key is not None:
            self._by_key[stream.owner, stream.key] = stream

    def show(self, stream: Stream) -> None:
        """Add a stream without its key. Another replica holds the stream, and decides about the key."""
        self._streams[stream.id] = stream
        self._by_owner[stream.owner][stream.id] = stream
        self._weigh(stream)

    def check_room(self, owner: Owner, request_bytes: int, limit: int) -> None:
        """Check that another stream fits into the memory quotas. Evict the owner's ended streams if necessary.

        Raises:
            RateLimited: reason ``STREAMS`` or ``STREAM_MEMORY``, if the owner is over a quota.
            Overloaded: reason ``STREAM_MEMORY``, if all owners' streams use up the memory.
        """
        if len(self._running.get(owner, ())) >= limit:
            raise too_many(limit)
        more = STREAM_BYTES + request_bytes
        self._kept.fit(owner, more=more)
        if self._quotas.is_over(owner, more):
            raise over_quota()
        if not self._quotas.has_room(owner, more):
            raise Overloaded(_NO_MEMORY, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)

    def grown(self, stream: Stream) -> None:
        """Update the counted memory of a running stream. Evict the owner's ended streams if necessary.

        Raises:
            RateLimited: reason ``STREAM_MEMORY``, if the owner is still over the quota, and this stream uses more than
                an equal share.
        """
        self._weigh(stream)
        owner = stream.owner
        if not self._quotas.is_over(owner):
            return
        self._kept.fit(owner)
        if self._quotas.is_over(owner) and stream.weight * len(self._running.get(owner, ())) > self._quotas.each:
            raise too_large()

    def _weigh(self, stream: Stream) -> None:
        if stream.id not in self._streams:
            return
        stream.weighed = stream.log.weight
        weight = STREAM_BYTES + stream.request_bytes + stream.weighed
        self._quotas.add(stream.owner, weight - stream.weight)
        stream.weight = weight

    def retain(self, stream: Stream) -> bool:
        """Retain an ended stream. Return False if the stream was already removed."""
        if stream.id not in self._streams:
            if self._on_removed is not None:
                self._on_removed(stream)
            return False
        self._stopped(stream)
        self._quotas.add(stream.owner, -stream.weight)
        stream.weight = 0
        self._kept.put(stream.owner, stream.id, stream, STREAM_BYTES + stream.log.weight)
        return True

    def packed(self, stream: Stream) -> None:
        """Update the counted memory of an ended stream after its log was packed."""
        if self._kept.get(stream.owner, stream.id) is not None and not stream.evicted:
            self._kept.reweigh(stream.owner, stream.id, STREAM_BYTES + stream.log.weight)

    def lose(self, stream: Stream) -> None:
        """Keep a stream that another replica holds now, without its key."""
        self._stopped(stream)
        self.free(stream)

    def free(self, stream: Stream) -> None:
        """Free a stream's key, so that a new stream can use the key."""
        if stream.key is not None and self._by_key.get((stream.owner, stream.key)) is stream:
            del self._by_key[stream.owner, stream.key]

    def remove(self, stream: Stream) -> None:
        """Remove a stream and free the stream's key."""
        stream.stop_timer()
        self._unlist(stream)
        self.free(stream)
        self._kept.pop(stream.owner, stream.id)
        self._quotas.add(stream.owner, -stream.weight)
        stream.weight = 0

    def _unlist(self, stream: Stream) -> None:
        if self._streams.pop(stream.id, None) is None:
            return
        self._stopped(stream)
        del self._by_owner[stream.owner][stream.id]
        if not self._by_owner[stream.owner]:
            del self._by_owner[stream.owner]
        if self._on_removed is not None:
            self._on_removed(stream)

    def _stopped(self, stream: Stream) -> None:
        running = self._running.get(stream.owner)
        if running is not None:
            running.discard(stream.id)
            if not running:
                del self._running[stream.owner]

    def _evict(self, stream: Stream) -> int | None:
        """Evict an ended stream's answer. Return the bytes that the stream's key still uses.

        If the stream has readers, evict nothing and return ``None``.
        """
        if stream.readers:
            return None
        self._unlist(stream)
        if stream.log.is_kept_elsewhere:
            stream.stop_timer()
            self.free(stream)
            return 0
        stream.evict()
        taken = stream.key is not None and self._by_key.get((stream.owner, stream.key)) is stream
        if not taken:
            stream.stop_timer()
        return KEY_BYTES if taken else 0
