"""Starts a stream once per key, and cancels streams without readers."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager

from clients.bounded import Quotas
from clients.codes import Reason
from clients.errors import Conflict, RateLimited
from clients.origin import Owner
from resolvers.streams.events import Delivery, Event, OnDisconnect
from resolvers.streams.limits import OWNERS, RETRY_SECONDS, StreamLimits, StreamMetrics
from resolvers.streams.log import Leave, StreamLog
from resolvers.streams.memory import MemoryLog
from resolvers.streams.pump import Pump
from resolvers.streams.reading import read_events
from resolvers.streams.registry import StreamRegistry
from resolvers.streams.stream import Stream, StreamRequest
from resolvers.streams.waiters import Waiters

_EVICTED = (
    "The stream with this key has ended and was evicted from memory. To execute the request again, use a new key."
)


class StreamHub:
    """Starts, finds and cancels this process's streams. ``new_log`` creates a log for a stream's id."""

    def __init__(
        self, limits: StreamLimits, metrics: StreamMetrics, new_log: Callable[[str], StreamLog] = MemoryLog
    ) -> None:
        self.limits = limits
        self._new_log = new_log
        self._memory = Quotas(limits.memory, limits.memory // OWNERS)
        self._registry = StreamRegistry(self._memory)
        self._pump = Pump(limits, metrics, self._registry)
        self._readers = Quotas(sys.maxsize, limits.max_readers_per_user)

    @property
    def memory(self) -> int:
        """The approximate memory of all streams, in bytes."""
        return self._memory.total

    def get(self, stream_id: str, owner: Owner) -> Stream:
        """Return the owner's stream with the given id. Raises NotFound."""
        return self._registry.get(stream_id, owner)

    def of(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first."""
        return self._registry.of(owner)

    def attaches(self, owner: Owner, key: str, *, restarts: bool = False) -> bool:
        """Return whether a request with the owner's key finds an earlier stream or an earlier attempt."""
        stream = self._registry.at_key(owner, key)
        return stream is not None and (stream.can_search or not stream.is_restarted_by(restarts=restarts))

    def earlier(self, owner: Owner, key: str) -> Stream | None:
        """Return the most recent stream that was started with the owner's key."""
        return self._registry.at_key(owner, key)

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

    def find_or_start(self, request: StreamRequest) -> tuple[Stream, bool]:
        """Find the stream with the request's key, or start a stream. Return the stream, and whether it is new."""
        owner = request.owner
        earlier = self._registry.by_key(owner, request.key, request.fingerprint)
        if earlier is not None and not earlier.is_restarted_by(restarts=request.restarts):
            if earlier.evicted:
                raise Conflict(_EVICTED, reason=Reason.ANSWER_DROPPED)
            return earlier, False
        self._check_readers(owner)
        self._registry.check_room(owner, request.request_bytes, self.limits.max_streams_per_user)
        stream_id = f"stream:{uuid.uuid4()}"
        stream = Stream.of(request, stream_id, self._new_log(stream_id))
        if earlier is not None:
            stream.restarted, stream.first_began = True, earlier.first_began
        self._pump.start(stream)
        return stream, True

    async def opened(self, stream: Stream) -> None:
        """Wait until the service accepts the request, for at most one heartbeat interval.

        If the service refuses the request later, the stream fails.
        """
        done, _ = await asyncio.wait({stream.opened}, timeout=self.limits.heartbeat)
        if done:
            stream.opened.result()
        else:
            stream.late = True

    def attached(self, stream: Stream, *, reads: bool = True) -> Attached:
        """Return a context manager that attaches a reader to a stream. Entering the context can raise RateLimited."""
        return Attached(self, stream, reads=reads)

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Add a reader to a stream. Raises RateLimited."""
        self._check_readers(stream.owner)
        self._readers.add(stream.owner, 1)
        stream.readers += 1
        stream.was_read = stream.was_read or reads
        stream.log.reader_may_return = False
        if stream.log.ended is None:
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

    def is_replay(self, stream: Stream, reader: object) -> bool:
        """Return whether another operation started the stream, or an earlier stream had the same key."""
        return stream.restarted or stream.starter is None or stream.starter() is not reader

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
        """Cancel a stream and wait until it ends. A later request with the stream's key replays the stream."""
        self.cancel(stream)
        stream.abandoned = False
        await stream.log.end()

    async def aclose(self) -> None:
        """Cancel all streams at shutdown."""
        self._pump.close()
        streams = self._registry.all()
        pumps = [stream.pump for stream in streams if stream.pump is not None]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for stream in streams:
            stream.stop_timer()

    def _check_readers(self, owner: Owner) -> None:
        if not self._readers.has_room(owner):
            message = f"You read {self._readers.each} streams, which is the limit. Stop reading one stream first."
            raise RateLimited(message, reason=Reason.READERS, retry_after_seconds=RETRY_SECONDS)

    def _last_detached(self, stream: Stream) -> None:
        """Pack or cancel a stream without readers, or start the stream's grace period.

        A running stream gets the grace period if it was never read, or if a reader that was detached may return.
        """
        if stream.log.ended is not None:
            if not stream.evicted:
                stream.log.pack()
                self._registry.packed(stream)
        elif stream.on_disconnect is OnDisconnect.CANCEL and stream.was_read and not stream.log.reader_may_return:
            self._abandon(stream)
        else:
            stream.start_timer(self.limits.grace, self._abandon)

    def _abandon(self, stream: Stream) -> None:
        """Cancel a stream without readers. A later request with the stream's key starts a new stream."""
        if stream.readers == 0:
            stream.abandoned = not stream.cancelled
            self.cancel(stream)


class Attached(AbstractAsyncContextManager[Stream]):
    """A context manager that attaches a reader to a stream. A generator function would use four times the memory."""

    __slots__ = ("_hub", "_reads", "_stream")

    def __init__(self, hub: StreamHub, stream: Stream, *, reads: bool) -> None:
        self._hub = hub
        self._stream = stream
        self._reads = reads

    async def __aenter__(self) -> Stream:
        self._hub.attach(self._stream, reads=self._reads)
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._hub.detach(self._stream)


class Starting(Attached):
    """A context manager that starts a stream or attaches to the stream with the request's key."""

    __slots__ = ("_request",)

    def __init__(self, hub: StreamHub, request: StreamRequest) -> None:
        self._hub = hub
        self._request = request

    async def __aenter__(self) -> Stream:
        request = self._request
        del self._request  # releases the request's body
        self._stream, is_new = self._hub.find_or_start(request)
        reads, on_reuse = request.reads, None if is_new else request.on_reuse
        del request
        self._hub.attach(self._stream, reads=reads)
        try:
            await self._hub.opened(self._stream)
            if on_reuse is not None:
                await on_reuse()
        except BaseException:  # including a cancellation
            self._hub.detach(self._stream)
            raise
        return self._stream
