"""Starts a stream once per key, and cancels streams without readers."""

from __future__ import annotations

import asyncio
import re
import sys
import uuid
from collections.abc import AsyncGenerator

from clients.bounded import Quotas
from clients.codes import Reason
from clients.errors import GatewayError, Interrupted, RateLimited, UpstreamUnavailable
from clients.origin import Owner
from clients.state.streams.store import StreamStore
from resolvers.streams.attaching import Attached, Starting, attaches
from resolvers.streams.codec import EventCodec
from resolvers.streams.events import Delivery, Event, OnDisconnect
from resolvers.streams.known import KnownStreams
from resolvers.streams.limits import OWNERS, RETRY_SECONDS, StreamLimits, StreamMetrics
from resolvers.streams.log import Leave
from resolvers.streams.memory import MemoryLog
from resolvers.streams.pump import Pump
from resolvers.streams.reading import read_events
from resolvers.streams.registry import StreamRegistry, gone
from resolvers.streams.sharing import Sharing
from resolvers.streams.stream import Stream, StreamRequest
from resolvers.streams.takeover import Resume
from resolvers.streams.waiters import Waiters

_STREAM_ID = re.compile(r"stream:[0-9a-f-]{36}")


class StreamHub:
    """Starts, finds and cancels streams.

    By default, there are only this process's streams. After ``share``, all replicas can read each other's streams.
    """

    def __init__(self, limits: StreamLimits, metrics: StreamMetrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._memory = Quotas(limits.memory, limits.memory // OWNERS)
        self._registry = StreamRegistry(self._memory, self._removed)
        self._pump = Pump(limits, metrics, self._registry)
        self._readers = Quotas(sys.maxsize, limits.max_readers_per_user)
        self._opening: dict[tuple[Owner, str], asyncio.Future[None]] = {}
        self._sharing: Sharing | None = None

    def share(self, store: StreamStore, codec: EventCodec, resume: Resume) -> None:
        """Share the streams with other replicas from now on.

        Args:
            store: the store that the replicas share.
            codec: encodes the streams' events for the store.
            resume: makes the sources of streams whose replicas have stopped.
        """
        self._sharing = Sharing(store, codec, self._registry, self, self.limits.retention, resume)
        self._sharing.start()

    @property
    def memory(self) -> int:
        """The approximate memory of all streams, in bytes."""
        return self._memory.total

    def held(self, stream_id: str, owner: Owner) -> Stream:
        """Return the owner's stream with the given id, if this process has the stream. Raises NotFound."""
        return self._registry.get(stream_id, owner)

    async def get(self, stream_id: str, owner: Owner) -> Stream:
        """Return the owner's stream with the given id.

        Raises:
            NotFound: there is no such stream.
            UpstreamUnavailable: this process does not have the stream, and the store is unavailable.
        """
        if self._sharing is None:
            return self._registry.get(stream_id, owner)
        stream = self._registry.find(stream_id)
        if stream is None or stream.owner != owner:
            stream = await self._sharing.find(owner, stream_id) if _STREAM_ID.fullmatch(stream_id) else None
        if stream is None:
            raise gone()
        return stream

    async def of(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first. Raises UpstreamUnavailable if the store is unavailable."""
        return self._registry.of(owner) if self._sharing is None else await self._sharing.of(owner)

    async def found(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first. If the store is unavailable, return only this process's streams."""
        try:
            return await self.of(owner)
        except UpstreamUnavailable:
            return self._registry.of(owner)

    def known(self, owner: Owner) -> KnownStreams:
        """Return a context manager that keeps a list of the owner's streams up to date."""
        return KnownStreams(self._registry, owner, self._sharing)

    async def attaches(self, owner: Owner, key: str, *, restarts: bool = False) -> bool:
        """Return whether a request with the owner's key finds an earlier stream or an earlier attempt."""
        stream = await self._earlier(owner, key)
        return stream is not None and (stream.can_search or not stream.is_restarted_by(restarts=restarts))

    async def _earlier(self, owner: Owner, key: str) -> Stream | None:
        """Return the most recent stream that was started with the owner's key.

        If a stream of this process was not completed, another replica may have started a newer stream with the key.
        """
        stream = self._registry.at_key(owner, key)
        if self._sharing is None or (stream is not None and not stream.broke_off and not stream.evicted):
            return stream
        return await self._sharing.at_key(owner, key) or stream

    def start(self, request: StreamRequest) -> Starting:
        """Return a context manager that starts a stream or attaches to the stream with the request's key.

        If the key's earlier stream was cancelled because the last reader detached, a new stream is started. The same
        applies if the outcome is unknown and the source can search for the earlier attempt.

        Entering the context raises:
            Conflict: reason ``KEY_REUSED``, or ``ANSWER_DROPPED`` if the stream's answer was evicted.
            RateLimited: reason ``STREAMS``, ``READERS`` or ``STREAM_MEMORY``, if the owner is over a quota.
            Overloaded: reason ``STREAM_MEMORY``, if all owners' streams use up the memory.
            GatewayError: the service refused the request within one heartbeat.
        """
        return Starting(self, request)

    async def find_or_start(self, request: StreamRequest) -> tuple[Stream, bool]:
        """Find the stream with the request's key, or start a stream. Return the stream, and whether it is new."""
        if request.key is None:
            return await self._start(request, None)
        key = request.owner, request.key
        while (opening := self._opening.get(key)) is not None:
            await asyncio.wait({opening})
        earlier = self._registry.at_key(*key)
        if self._sharing is None:
            return await self._start(request, earlier)
        self._opening[key] = asyncio.get_running_loop().create_future()
        try:
            # another replica may have started a newer stream, if this process's stream was not completed
            return await self._start(request, None if earlier is None else await self._earlier(*key))
        finally:
            self._opening.pop(key).set_result(None)

    async def _start(self, request: StreamRequest, earlier: Stream | None) -> tuple[Stream, bool]:
        """Return the earlier stream with the request's key, or start a stream."""
        while earlier is None or not attaches(request, earlier):
            self._check_readers(request.owner)
            self._registry.check_room(request.owner, request.request_bytes, self.limits.max_streams_per_user)
            stream_id = f"stream:{uuid.uuid4()}"
            if self._sharing is None or not request.retained:
                stream = Stream.of(request, stream_id, MemoryLog(stream_id), earlier)
            else:
                stream = await self._sharing.opening.open(request, stream_id, earlier, self.limits.max_streams_per_user)
            if stream.id == stream_id:
                self._pump.start(stream)
                return stream, True
            earlier = stream
        return earlier, False

    async def opened(self, stream: Stream) -> None:
        """Wait until the service accepts the request, for at most one heartbeat interval.

        If the service refuses the request later, the stream fails.
        """
        done, _ = await asyncio.wait({stream.opened}, timeout=self.limits.heartbeat)
        if done:
            if isinstance(refusal := stream.opened.exception(), GatewayError):
                raise refusal.copy()
            if self._sharing is not None and stream.is_mirrored and stream.keeps_raw and stream.conversation is None:
                await self._sharing.find(stream.owner, stream.id)  # reads the service's headers
        else:
            stream.late = True

    def attached(self, stream: Stream, *, reads: bool = True) -> Attached:
        """Return a context manager that attaches a reader to a stream. Entering the context can raise RateLimited."""
        return Attached(self, stream, reads=reads)

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Add a reader to a stream. Raises RateLimited."""
        self._check_readers(stream.owner)
        if stream.is_mirrored and not stream.readers and self._sharing is not None:
            self._registry.check_room(stream.owner, 0, sys.maxsize)
            self._sharing.mirrors.attach(stream)
        self._readers.add(stream.owner, 1)
        stream.readers += 1
        stream.was_read = stream.was_read or reads
        stream.log.reader_may_return = stream.is_mirrored and not reads
        if stream.log.ended is None and not stream.is_mirrored:
            stream.stop_timer()

    def detach(self, stream: Stream) -> None:
        """Remove a reader from a stream. If this was the last reader, apply the stream's ``on_disconnect``."""
        stream.readers -= 1
        self._readers.add(stream.owner, -1)
        if stream.readers == 0:
            self._last_detached(stream)

    async def turn_begun(self, owner: Owner, conversation: str, *others: Waiters) -> None:
        """Wait until the owner's conversation begins a turn, or one of the ``others`` is woken."""
        await self._pump.begun.woken((owner, conversation), *others)

    def is_resumable_elsewhere(self, stream: Stream) -> bool:
        """Return whether a detached reader can continue to read a stream at another replica."""
        return self._sharing is not None and self._sharing.survives(stream)

    def is_replay(self, stream: Stream, reader: object) -> bool:
        """Return whether another operation started the stream, or an earlier stream had the same key."""
        return stream.restarted or not stream.is_started_by(reader)

    def events(
        self, stream: Stream, after: str | None, leave: Leave | None = None, *, replayed: bool = False
    ) -> AsyncGenerator[Delivery[Event]]:
        """Yield the stream's events after a cursor, for the GraphQL endpoint."""
        stream.late = stream.late or not stream.opened.done()
        limits = self.limits
        return read_events(
            stream.log,
            after,
            coalesce=limits.coalesce,
            max_waiting=limits.max_waiting,
            slow_after=limits.slow_after,
            leave=leave,
            replayed=replayed,
        )

    def cancel(self, stream: Stream) -> None:
        """Close the stream's upstream call, and end the stream's log with ``CANCELLED``."""
        if stream.pump is not None and not stream.cancelled:  # a second cancellation would interrupt the accounting
            stream.cancelled = True
            stream.pump.cancel()

    async def cancel_and_wait(self, stream: Stream) -> None:
        """Cancel a stream and wait until it ends. A later request with the stream's key replays the stream.

        Raises:
            NotFound: another replica had the stream, and the stream has expired.
            UpstreamUnavailable: another replica has the stream, and the store is unavailable.
            UpstreamTimeout: the replica that has the stream did not end the stream in time.
        """
        if stream.is_mirrored and self._sharing is not None:
            await self._sharing.cancel(stream)
            return
        self.cancel(stream)
        stream.abandoned = False
        await stream.log.end()

    async def aclose(self) -> None:
        """Fail all streams at shutdown, except the streams that other replicas can continue."""
        self._pump.close()
        streams = self._registry.all()
        if self._sharing is not None:
            self._sharing.hand_over()
        for stream in streams:
            if stream.opened.done() and not stream.cancelled:
                stream.failing = stream.failing or _stopped()
        pumps = [stream.pump for stream in streams if stream.pump is not None]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for stream in streams:
            stream.stop_timer()
        if self._sharing is not None:
            await self._sharing.aclose()

    # What other replicas cause (``Runner``)

    def abort(self, stream: Stream, error: GatewayError | None) -> None:
        """Close a stream's upstream call. Fail the stream, unless another replica continues the stream."""
        stream.failing = error
        if stream.pump is not None and not stream.pump.cancel():
            self._pump.stopped(stream)  # the source has ended, but readers have not received the end

    def reader_left(self, stream: Stream) -> None:
        """Act as after the last reader in this process, because the last reader on another replica has detached."""
        self._last_detached(stream)

    def run(self, stream: Stream) -> None:
        """Copy the source of a stream that another replica has begun.

        The readers of the stopped replica get the grace period to attach again.
        """
        self._pump.start(stream)
        if stream.cancelled:
            stream.cancelled = False
            self.cancel(stream)
        elif not stream.readers:
            stream.log.reader_may_return = True
            self._last_detached(stream)

    def broke(self, error: Exception) -> None:
        """Report an internal error of the copies in the store."""
        self._metrics.source_broke("shared", error)

    def begun(self, stream: Stream) -> None:
        """Wake the tasks that wait for a turn which another replica has begun."""
        if stream.conversation is not None:
            self._pump.begun.wake((stream.owner, stream.conversation))

    def _removed(self, stream: Stream) -> None:
        if self._sharing is not None:
            self._sharing.removed(stream)

    def _check_readers(self, owner: Owner) -> None:
        if not self._readers.has_room(owner):
            message = f"You read {self._readers.each} streams, which is the limit. Stop reading one stream first."
            raise RateLimited(message, reason=Reason.READERS, retry_after_seconds=RETRY_SECONDS)

    def _last_detached(self, stream: Stream) -> None:
        """Pack or cancel a stream without readers, or start the stream's grace period.

        A running stream gets the grace period if it was never read, or if a reader that was detached may return.
        """
        if stream.is_mirrored and self._sharing is not None and not stream.readers:
            self._sharing.mirrors.detach(stream)
        elif stream.elsewhere and not stream.log.is_closed:
            return
        elif stream.log.is_closed:
            if stream.log.ended is not None and not stream.evicted:
                stream.log.pack()
                self._registry.packed(stream)
        elif stream.on_disconnect is OnDisconnect.CANCEL and stream.was_read and not stream.log.reader_may_return:
            if self._sharing is None:
                self.abandon(stream)
            else:
                self._sharing.abandon(stream)
        else:
            stream.start_timer(self.limits.grace, self.abandon)

    def abandon(self, stream: Stream) -> None:
        """Cancel a stream without readers. A later request with the stream's key starts a new stream."""
        if stream.readers == 0 and not stream.elsewhere:
            stream.abandoned = not stream.cancelled
            self.cancel(stream)


def _stopped() -> GatewayError:
    """Return the error of a stream that the stopping process cuts off."""
    return Interrupted(
        "The gateway process that read the answer stopped, so the answer is incomplete. Request the answer again.",
        reason=Reason.DRAINING,
    )
