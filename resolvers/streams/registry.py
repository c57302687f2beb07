"""The streams that can be read: running ones, and ended ones within their retention and a quota of memory."""

from __future__ import annotations

from collections import defaultdict

from clients.bounded import Kept, Quotas
from clients.codes import Reason
from clients.errors import Conflict, NotFound, Overloaded, RateLimited
from clients.origin import Owner
from resolvers.streams.limits import RETRY_SECONDS
from resolvers.streams.stream import Stream

STREAM_BYTES = 4096
"""The approximate bytes of a stream besides its log."""

WEIGHED_BYTES = 32 * 1024
"""The growth of a running stream's log, in bytes, after which it is counted again."""

KEY_BYTES = 2048
"""The bytes of an ended stream whose answer was evicted."""

_MEMORY_RETRY_SECONDS = 10.0
_OVER_QUOTA = "Your running and open streams use up your share of memory. End some of them first."
_NO_MEMORY = "The streams of all users use up the memory. Retry later."
_TOO_LARGE = "Your running streams exceed your share of memory, and this one is among the largest. Run fewer at a time."


class StreamRegistry:
    """Streams by id, by owner and by key. Their memory is counted in ``quotas``.

    If an owner is over the quota, the answers of the owner's oldest ended streams without readers are evicted. Their
    keys stay taken until their retention ends.
    """

    def __init__(self, quotas: Quotas) -> None:
        self._quotas = quotas
        self._streams: dict[str, Stream] = {}
        self._by_owner: defaultdict[Owner, dict[str, Stream]] = defaultdict(dict)
        self._by_key: dict[tuple[Owner, str], Stream] = {}
        self._running: defaultdict[Owner, set[str]] = defaultdict(set)
        self._kept: Kept[Stream] = Kept(quotas, self._evict)

    def get(self, stream_id: str, owner: Owner) -> Stream:
        """Return the owner's stream by its id. Raises NotFound."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.owner != owner:
            raise NotFound("The stream does not exist, or its retention has ended.")
        return stream

    def of(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first."""
        return list(self._by_owner[owner].values()) if owner in self._by_owner else []

    def all(self) -> list[Stream]:
        """Return all streams."""
        return list(self._streams.values())

    def at_key(self, owner: Owner, key: str) -> Stream | None:
        """Return the stream that the owner's key has started, with any input."""
        return self._by_key.get((owner, key))

    def by_key(self, owner: Owner, key: str | None, fingerprint: str) -> Stream | None:
        """Return the stream that the owner's key has started. Raises Conflict (``KEY_REUSED``) for other input."""
        stream = None if key is None else self.at_key(owner, key)
        if stream is not None and stream.fingerprint != fingerprint:
            raise Conflict("The key was already used with different input. Use a new key.", reason=Reason.KEY_REUSED)
        return stream

    def add(self, stream: Stream) -> None:
        """Add a stream that begins to run."""
        self._streams[stream.id] = stream
        self._by_owner[stream.owner][stream.id] = stream
        self._running[stream.owner].add(stream.id)
        if stream.key is not None:
            self._by_key[stream.owner, stream.key] = stream
        self._weigh(stream)

    @property
    def is_idle(self) -> bool:
        """Whether no stream is running."""
        return not self._running

    def check_room(self, owner: Owner, request_bytes: int, limit: int) -> None:
        """Check that there is room for another stream, and evict the owner's ended ones to make room.

        Raises:
            RateLimited: reason ``STREAMS``, if ``limit`` of the owner's run; ``STREAM_MEMORY``, by the owner's quota.
            Overloaded: reason ``STREAM_MEMORY``, by the memory of all owners.
        """
        if len(self._running.get(owner, ())) >= limit:
            message = f"You have {limit} running streams, which is the limit. Wait until one ends, or cancel one."
            raise RateLimited(message, reason=Reason.STREAMS, retry_after_seconds=RETRY_SECONDS)
        more = STREAM_BYTES + request_bytes
        self._kept.fit(owner, more=more)
        if self._quotas.is_over(owner, more):
            raise RateLimited(_OVER_QUOTA, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)
        if not self._quotas.has_room(owner, more):
            raise Overloaded(_NO_MEMORY, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)

    def grown(self, stream: Stream) -> None:
        """Count the memory of a running stream, and evict ended streams of its owner to make room.

        If that is not enough, a stream with more than an equal part of the quota ends. A small one does not end because
        of a large one.

        Raises:
            RateLimited: reason ``STREAM_MEMORY``.
        """
        self._weigh(stream)
        owner = stream.owner
        if not self._quotas.is_over(owner):
            return
        self._kept.fit(owner)
        if self._quotas.is_over(owner) and stream.weight * len(self._running.get(owner, ())) > self._quotas.each:
            raise RateLimited(_TOO_LARGE, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)

    def _weigh(self, stream: Stream) -> None:
        if stream.id not in self._streams:
            return
        stream.weighed = stream.log.weight
        weight = STREAM_BYTES + stream.request_bytes + stream.weighed
        self._quotas.add(stream.owner, weight - stream.weight)
        stream.weight = weight

    def retain(self, stream: Stream) -> bool:
        """Keep a stream that has ended. Returns False if it was removed before."""
        if stream.id not in self._streams:
            return False
        self._stopped(stream)
        self._quotas.add(stream.owner, -stream.weight)
        stream.weight = 0
        self._kept.put(stream.owner, stream.id, stream, STREAM_BYTES + stream.log.weight)
        return True

    def packed(self, stream: Stream) -> None:
        """Count an ended stream again after it was packed: it can be evicted."""
        if self._kept.get(stream.owner, stream.id) is not None and not stream.evicted:
            self._kept.reweigh(stream.owner, stream.id, STREAM_BYTES + stream.log.weight)

    def free(self, stream: Stream) -> None:
        """Free a stream's key. The stream can still be read by its id."""
        if stream.key is not None and self._by_key.get((stream.owner, stream.key)) is stream:
            del self._by_key[stream.owner, stream.key]

    def remove(self, stream: Stream) -> None:
        """Remove a stream and free its key."""
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

    def _stopped(self, stream: Stream) -> None:
        """Remove a stream from the running ones."""
        running = self._running.get(stream.owner)
        if running is not None:
            running.discard(stream.id)
            if not running:
                del self._running[stream.owner]

    def _evict(self, stream: Stream) -> int | None:
        """Evict an ended stream's answer. Returns the bytes left, of its key; ``None`` if the stream has readers."""
        if stream.readers:
            return None
        self._unlist(stream)
        stream.evict()
        taken = stream.key is not None and self._by_key.get((stream.owner, stream.key)) is stream
        if not taken:
            stream.stop_timer()
        return KEY_BYTES if taken else 0
