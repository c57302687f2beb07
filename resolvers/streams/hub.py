"""Starts a stream once per key, and cancels it when it has no readers."""

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

_EVICTED = "The stream with this key has ended, and its answer was evicted from memory. A new key repeats the request."


class StreamHub:
    """All streams of this process. ``new_log`` makes the log of a stream, by its id."""

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
        """The approximate bytes of all streams."""
        return self._memory.total

    def get(self, stream_id: str, owner: Owner) -> Stream:
        """Return the owner's stream by its id. Raises NotFound."""
        return self._registry.get(stream_id, owner)

    def of(self, owner: Owner) -> list[Stream]:
        """Return the owner's streams, oldest first."""
        return self._registry.of(owner)

    def attaches(self, owner: Owner, key: str, *, restarts: bool = False) -> bool:
        """Whether a request with the owner's key attaches to a stream, or searches for an earlier attempt."""
        stream = self._registry.at_key(owner, key)
        return stream is not None and (stream.looks or not stream.is_restarted_by(restarts=restarts))

    def earlier(self, owner: Owner, key: str) -> Stream | None:
        """Return the last stream of the owner's key, for a source that starts again."""
        return self._registry.at_key(owner, key)

    def start(self, request: StreamRequest) -> Starting:
        """Start a stream, or attach to the one that its key has started, while the context lasts.

        A key starts again if its stream was cancelled because the last reader detached; and if the outcome is unknown
        and the source can search for the earlier attempt (see ``earlier``).

        Entering the context raises:
            Conflict: reason ``KEY_REUSED``, if the key was used with other input; ``ANSWER_DROPPED``, if the answer of
                its stream was evicted.
            RateLimited: reason ``STREAMS``, ``READERS`` or ``STREAM_MEMORY``, by the owner's quotas.
            Overloaded: reason ``STREAM_MEMORY``, by the memory of all owners.
            GatewayError: the upstream's refusal, if it comes within one heartbeat.
        """
        return Starting(self, request)

    def find_or_start(self, request: StreamRequest) -> tuple[Stream, bool]:
        """Return the stream of the request's key, or a new one, and whether it is new. Raises as ``start``."""
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
        """Wait until the stream opens, one heartbeat at most. A refusal after that is in the stream."""
        done, _ = await asyncio.wait({stream.opened}, timeout=self.limits.heartbeat)
        if done:
            stream.opened.result()
        else:
            stream.late = True

    def attached(self, stream: Stream, *, reads: bool = True) -> Attached:
        """Attach to a stream while the context lasts. Entering it raises RateLimited (``READERS``)."""
        return Attached(self, stream, reads=reads)

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Count a reader. Raises RateLimited."""
        self._check_readers(stream.owner)
        self._readers.add(stream.owner, 1)
        stream.readers += 1
        stream.was_read = stream.was_read or reads
        stream.log.reader_may_return = False
        if stream.log.ended is None:
            stream.stop_timer()

    def detach(self, stream: Stream) -> None:
        """Remove a reader. ``on_disconnect`` applies to the last one."""
        stream.readers -= 1
        self._readers.add(stream.owner, -1)
        if stream.readers == 0:
            self._unread(stream)

    async def turn_begun(self, owner: Owner, conversation: str, *others: Waiters) -> None:
        """Wait until a turn of the owner's conversation begins, or one of the others wakes."""
        await self._pump.begun.woken((owner, conversation), *others)

    def is_replay(self, stream: Stream, reader: object) -> bool:
        """Whether a reader has not started the stream, or its key had started one before."""
        return stream.restarted or stream.starter is None or stream.starter() is not reader

    def events(
        self, stream: Stream, after: str | None, leave: Leave | None = None, *, replayed: bool = False
    ) -> AsyncGenerator[Delivery[Event]]:
        """Read the stream's events after a cursor, for the GraphQL endpoint. See ``read_events``."""
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
        """Cancel a stream: the upstream is closed, and the log ends ``CANCELLED``."""
        if stream.pump is not None:
            stream.cancelled = True
            stream.pump.cancel()

    async def cancel_and_wait(self, stream: Stream) -> None:
        """Cancel a stream and wait for its end, which its key replays. An ended stream does not change."""
        self.cancel(stream)
        stream.abandoned = False
        await stream.log.end()

    async def aclose(self) -> None:
        """Cancel all streams at shutdown."""
        streams = self._registry.all()
        pumps = [stream.pump for stream in streams if stream.pump is not None]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for stream in streams:
            stream.stop_timer()

    def _check_readers(self, owner: Owner) -> None:
        if not self._readers.has_room(owner):
            message = f"You read {self._readers.each} streams, which is the limit. Stop reading one of them first."
            raise RateLimited(message, reason=Reason.READERS, retry_after_seconds=RETRY_SECONDS)

    def _unread(self, stream: Stream) -> None:
        """Pack, abandon or give grace to a stream whose last reader has detached.

        A running stream always gets its grace period if it has not been read yet, or if the gateway detached a reader,
        which can return with its cursor.
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
        """Cancel a stream without readers. Its reader may have lost the connection, so its key starts again."""
        if stream.readers == 0:
            stream.abandoned = not stream.cancelled
            self.cancel(stream)


class Attached(AbstractAsyncContextManager[Stream]):
    """Attaches a reader to a stream. A class: a generator takes four times its memory, for as long as it reads."""

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


class Starting(AbstractAsyncContextManager[Stream]):
    """Starts a stream, or finds the one that its key has started, and attaches a reader. See ``StreamHub.start``."""

    __slots__ = ("_hub", "_request", "_stream")

    _stream: Stream

    def __init__(self, hub: StreamHub, request: StreamRequest) -> None:
        self._hub = hub
        self._request = request

    async def __aenter__(self) -> Stream:
        request = self._request
        del self._request  # it keeps the request's body
        self._stream, is_new = self._hub.find_or_start(request)
        reads, on_reuse = request.reads, None if is_new else request.on_reuse
        del request
        self._hub.attach(self._stream, reads=reads)
        try:
            await self._hub.opened(self._stream)
            if on_reuse is not None:
                await on_reuse()
        except BaseException:  # a cancellation detaches, too
            self._hub.detach(self._stream)
            raise
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._hub.detach(self._stream)
