"""The streams that can be read: those that run and, for a time and within a bound, those that have ended."""

from __future__ import annotations

from collections import OrderedDict, defaultdict

from clients.errors import Conflict, NotFound
from resolvers.streams.stream import Stream


class Shelf:
    """Streams by id, by owner and by key. ``max_kept`` bounds what ended ones hold in all, in bytes, about."""

    def __init__(self, max_kept: int) -> None:
        self._max_kept = max_kept
        self._streams: dict[str, Stream] = {}
        self._by_owner: defaultdict[str, dict[str, Stream]] = defaultdict(dict)
        self._by_key: dict[tuple[str, str], Stream] = {}
        self._ended: OrderedDict[str, Stream] = OrderedDict()
        self._kept = 0

    def get(self, stream_id: str, owner_id: str) -> Stream:
        """The owner's stream of that id. Raises NotFound."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.owner_id != owner_id:
            raise NotFound("No such stream.")
        return stream

    def of(self, owner_id: str) -> list[Stream]:
        """The owner's streams, oldest first."""
        return list(self._by_owner[owner_id].values()) if owner_id in self._by_owner else []

    def all(self) -> list[Stream]:
        """Every stream."""
        return list(self._streams.values())

    def at_key(self, owner_id: str, key: str) -> Stream | None:
        """What the owner's key has started, whatever with."""
        return self._by_key.get((owner_id, key))

    def by_key(self, owner_id: str, key: str | None, fingerprint: str) -> Stream | None:
        """What the owner's key has started. Raises Conflict (``KEY_REUSED``) where that was with other input."""
        stream = None if key is None else self.at_key(owner_id, key)
        if stream is not None and stream.fingerprint != fingerprint:
            raise Conflict("The key was used before, with other input.", reason="KEY_REUSED")
        return stream

    def add(self, stream: Stream) -> None:
        """A stream begins."""
        self._streams[stream.id] = stream
        self._by_owner[stream.owner_id][stream.id] = stream
        if stream.key is not None:
            self._by_key[stream.owner_id, stream.key] = stream

    def ended(self, stream: Stream) -> bool:
        """A stream has ended, and stays to be read; the oldest make room for it. False for one that was forgotten."""
        if stream.id not in self._streams:
            return False
        self._ended[stream.id] = stream
        self._kept += stream.log.weight
        while self._kept > self._max_kept and len(self._ended) > 1:
            self.forget(next(iter(self._ended.values())))
        return True

    def free(self, stream: Stream) -> None:
        """A stream's key is free again; the stream stays to be read by its id."""
        if stream.key is not None and self._by_key.get((stream.owner_id, stream.key)) is stream:
            del self._by_key[stream.owner_id, stream.key]

    def forget(self, stream: Stream) -> None:
        """A stream is not there any more; its key is free again."""
        stream.stop_timer()
        if self._streams.pop(stream.id, None) is None:
            return
        mine = self._by_owner[stream.owner_id]
        del mine[stream.id]
        if not mine:
            del self._by_owner[stream.owner_id]
        self.free(stream)
        if self._ended.pop(stream.id, None) is not None:
            self._kept -= stream.log.weight
