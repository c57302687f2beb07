"""Opens streams in the store that replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from clients.state.errors import StateUnavailable
from clients.state.recovery import Recovery
from clients.state.streams.records import Opened, OverLimit, OverQuota, StreamRecord, Taken
from clients.state.streams.store import StreamStore
from resolvers.streams.registry import over_quota, too_many
from resolvers.streams.replicator import Held
from resolvers.streams.shared_log import Copier, SharedLog
from resolvers.streams.stored import new_stream, progress_bytes
from resolvers.streams.stream import Stream, StreamRequest


class Opening:
    """Opens streams in the store.

    Args:
        store: the store.
        copier: copies the entries of the streams to the store.
        retention: how long an ended stream can be read, in seconds.
        hold: called with each stream that this process holds from now on.
        stream_of: returns the stream of a record.
    """

    def __init__(
        self,
        store: StreamStore,
        copier: Copier,
        retention: float,
        hold: Callable[[Held], None],
        stream_of: Callable[[StreamRecord], Stream],
    ) -> None:
        self._store = store
        self._copier = copier
        self._retention = timedelta(seconds=retention)
        self._hold = hold
        self._stream_of = stream_of
        self._undoing: set[asyncio.Task[None]] = set()

    async def open(self, request: StreamRequest, stream_id: str, earlier: Stream | None, limit: int) -> Stream:
        """Create a stream in the store. Return the new stream, or the stream that has the request's key.

        If the store is unavailable, only this process knows the stream until the store is available again.

        Raises:
            RateLimited: reason ``STREAMS`` or ``STREAM_MEMORY``.
        """
        held, answer = self._new(request, stream_id, earlier), None
        new = new_stream(held.stream, progress_bytes(held.stream, held.recipe))
        recovery = Recovery(self._store.recovered)
        while answer is None:
            opening = asyncio.ensure_future(
                self._store.open(new, max_running=limit, replacing=None if earlier is None else earlier.id)
            )
            try:
                answer = await asyncio.shield(opening)
            except asyncio.CancelledError:
                task = asyncio.create_task(self._undo(opening))
                self._undoing.add(task)
                task.add_done_callback(self._undoing.discard)
                raise
            except StateUnavailable as error:
                if request.key is None or not await recovery.after(error):
                    return self._unstored(request, stream_id, earlier)
        match answer:
            case Opened(lease=lease):
                if earlier is None and self._store.may_lack_keys:
                    held = self._new(request, stream_id, None, may_repeat=True)
                held.lease = lease
                self._hold(held)
                return held.stream
            case Taken(record):
                return self._stream_of(record)
            case OverLimit():
                raise too_many(limit)
            case OverQuota():
                raise over_quota()

    def _new(self, request: StreamRequest, stream_id: str, earlier: Stream | None, *, may_repeat: bool = False) -> Held:
        """Return a new stream. ``may_repeat``: whether the store may lack an earlier stream with the key."""
        searches = may_repeat and request.key is not None and request.can_search
        since = datetime.now(UTC) - self._retention if searches else None
        log = SharedLog(stream_id, self._store.replica, self._copier)
        stream = Stream.of(request, stream_id, log, earlier, since=since)
        return Held(stream, log, b"" if stream.source is None else stream.source.recipe())

    def _unstored(self, request: StreamRequest, stream_id: str, earlier: Stream | None) -> Stream:
        """Return a new stream that only this process knows."""
        held = self._new(request, stream_id, earlier, may_repeat=True)
        self._hold(held)
        return held.stream

    async def _undo(self, opening: asyncio.Future[Opened | Taken | OverLimit | OverQuota]) -> None:
        """Remove a stream whose request was cancelled."""
        with suppress(StateUnavailable):  # without an answer, the stream expires
            answer = await opening
            if isinstance(answer, Opened):
                await self._store.remove(answer.lease)

    async def aclose(self) -> None:
        """Stop removing the streams of cancelled requests. These streams expire."""
        for task in list(self._undoing):
            task.cancel()
        await asyncio.gather(*self._undoing, return_exceptions=True)
