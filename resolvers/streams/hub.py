"""The kernel: starts a source once per key, pumps it into a log, closes it when nobody needs it any more."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from clients.errors import Conflict, ErrorCode, GatewayError, NotFound, Overloaded, UpstreamError
from resolvers.streams.events import (
    Ended,
    Event,
    OnDisconnect,
    Started,
    StreamFailure,
    StreamOutcome,
    StreamStatus,
    TextDelta,
)
from resolvers.streams.log import StreamLog, read_entries, read_events


class Source(Protocol):
    """Where a stream's events come from. A source is opened once and read to its end by the kernel alone."""

    run_id: str | None

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[tuple[Event, bytes]]]:
        """Open the upstream; entering raises its refusal, leaving closes it at once.

        The iterator yields events with the upstream bytes to pass on, ``Started`` first and ``Ended`` last. One that
        stops without ``Ended`` has been cut.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Bounds on streams. Times in seconds, sizes in bytes."""

    grace: float = 60
    retention: float = 300
    heartbeat: float = 15
    coalesce: float = 0.016
    max_waiting: int = 256 * 1024
    max_log: int = 16 * 1024 * 1024
    max_streams_per_user: int = 100


class StreamMetrics(Protocol):
    """What is counted of streams."""

    def stream_started(self, kind: str) -> None:
        """A stream began."""

    def stream_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """A stream ended."""

    def source_broke(self, kind: str, error: Exception) -> None:
        """A source failed in a way that is the gateway's own fault."""

    def first_token(self, kind: str, seconds: float) -> None:
        """Its first token came."""


@dataclass(eq=False, kw_only=True)
class Stream:
    """A stream: its log, its owner, and who reads it. Also the record of the graph's ``Stream``."""

    id: str
    owner_id: str
    kind: str
    source: Source
    on_disconnect: OnDisconnect
    log: StreamLog = field(default_factory=StreamLog)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    expires_at: datetime | None = None
    readers: int = 0
    was_read: bool = False
    opened: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    pump: asyncio.Task[None] | None = None
    grace: asyncio.TimerHandle | None = None

    @property
    def run_id(self) -> str | None:
        """The Letta run behind it, once that is known."""
        return self.source.run_id

    @property
    def status(self) -> StreamStatus:
        """Where it stands."""
        ended = self.log.ended
        return StreamStatus.RUNNING if ended is None else StreamStatus(ended.outcome.value)

    @property
    def text(self) -> str:
        """The answer so far, up to ``last_cursor``: read together, in one step, they are one snapshot."""
        return "".join(entry.event.text for entry in self.log.entries if type(entry.event) is TextDelta)

    @property
    def last_cursor(self) -> str:
        """The cursor of the newest event."""
        return str(len(self.log.entries))


class StreamHub:
    """All streams of this process."""

    def __init__(self, limits: StreamLimits, metrics: StreamMetrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._streams: dict[str, Stream] = {}
        self._keys: dict[tuple[str, str], tuple[str, Stream]] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def get(self, stream_id: str, owner_id: str) -> Stream:
        """The owner's stream of that id. Raises NotFound."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.owner_id != owner_id:
            raise NotFound("No such stream.")
        return stream

    def of(self, owner_id: str) -> list[Stream]:
        """The owner's streams, oldest first."""
        return [stream for stream in self._streams.values() if stream.owner_id == owner_id]

    @asynccontextmanager
    async def started(
        self,
        owner_id: str,
        *,
        kind: str,
        source: Callable[[], Source],
        on_disconnect: OnDisconnect,
        key: str | None = None,
        fingerprint: str = "",
        reads: bool = True,
    ) -> AsyncIterator[Stream]:
        """Start a stream, or attach to what the same key has started, for as long as the context lasts.

        Without ``reads`` the caller only starts it, for somebody else to read.

        Raises:
            Conflict: reason ``KEY_REUSED``, when the key was used with other input.
            GatewayError: the upstream's refusal, if it comes within one heartbeat.
        """
        stream = self._existing(owner_id, key, fingerprint)
        if stream is None:
            stream = self._start(owner_id, kind, source(), on_disconnect)
            if key is not None:
                self._keys[owner_id, key] = (fingerprint, stream)
        async with self.attached(stream, reads=reads):
            await self._opened(stream)
            yield stream

    @asynccontextmanager
    async def attached(self, stream: Stream, *, reads: bool = True) -> AsyncIterator[Stream]:
        """Be a reader of a stream. When the last one leaves, ``on_disconnect`` decides about the upstream."""
        stream.readers += 1
        stream.was_read = stream.was_read or reads
        if stream.grace is not None:
            stream.grace.cancel()
            stream.grace = None
        try:
            yield stream
        finally:
            stream.readers -= 1
            if stream.readers == 0 and stream.log.ended is None:
                self._abandon(stream)

    def events(self, stream: Stream, after: str | None) -> AsyncIterator[Event]:
        """The stream's events after a cursor, as a GraphQL door sends them."""
        return read_events(stream.log, after, coalesce=self.limits.coalesce, max_waiting=self.limits.max_waiting)

    async def aclose(self) -> None:
        """Cancel everything; the process is going."""
        pumps = [stream.pump for stream in self._streams.values() if stream.pump is not None]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for timer in self._timers:
            timer.cancel()

    def _existing(self, owner_id: str, key: str | None, fingerprint: str) -> Stream | None:
        if key is None or (known := self._keys.get((owner_id, key))) is None:
            return None
        if known[0] != fingerprint:
            raise Conflict("The key was used before, with other input.", reason="KEY_REUSED")
        return known[1]

    def _start(self, owner_id: str, kind: str, source: Source, on_disconnect: OnDisconnect) -> Stream:
        running = sum(1 for stream in self.of(owner_id) if stream.log.ended is None)
        if running >= self.limits.max_streams_per_user:
            raise Overloaded("Too many streams of yours are running.", reason="STREAMS")
        stream = Stream(
            id=f"stream:{uuid.uuid4()}", owner_id=owner_id, kind=kind, source=source, on_disconnect=on_disconnect
        )
        self._streams[stream.id] = stream
        self._metrics.stream_started(kind)
        stream.pump = asyncio.create_task(self._pump(stream))
        stream.pump.add_done_callback(lambda _: self._end(stream, Ended(outcome=StreamOutcome.CANCELLED)))
        return stream

    async def _opened(self, stream: Stream) -> None:
        """Wait for the upstream to open, one heartbeat at most; a refusal after that is in the stream."""
        done, _ = await asyncio.wait({stream.opened}, timeout=self.limits.heartbeat)
        if done:
            stream.opened.result()

    async def _pump(self, stream: Stream) -> None:
        try:
            async with stream.source.open() as events:
                stream.opened.set_result(None)
                await self._copy(stream, events)
        except asyncio.CancelledError:
            self._end(stream, Ended(outcome=StreamOutcome.CANCELLED))
        except GatewayError as error:
            if self._refused(stream, error):
                return
            self._end(stream, _failed(error))
        except Exception as error:  # noqa: BLE001 - whatever went wrong in a source, its readers must be told
            self._metrics.source_broke(stream.kind, error)
            self._end(stream, Ended(outcome=StreamOutcome.FAILED, error=_INTERNAL))

    async def _copy(self, stream: Stream, events: AsyncIterator[tuple[Event, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), True
        async for event, raw in events:
            if isinstance(event, Ended):
                self._end(stream, event, raw)
                return
            if isinstance(event, Started):
                event.stream_id = stream.id
            elif first:
                self._metrics.first_token(stream.kind, loop.time() - began)
                first = False
            stream.log.append(event, raw)
            if stream.log.weight > self.limits.max_log:
                raise UpstreamError("The answer is too large.", reason="TOO_LARGE", can_retry=False)
        raise UpstreamError("The answer was cut off.", reason="CUT")

    def _refused(self, stream: Stream, error: GatewayError) -> bool:
        """Tell those who wait for the opening; a stream that never opened is forgotten, so that a retry is free."""
        if stream.opened.done() or stream.readers == 0:
            return False
        stream.opened.set_exception(error)
        stream.opened.exception()
        self._end(stream, _failed(error))
        self._forget(stream)
        return True

    def _end(self, stream: Stream, ended: Ended, raw: bytes = b"") -> None:
        if stream.log.ended is not None:
            return
        if not stream.opened.done():
            stream.opened.set_result(None)
        if ended.run_id is None:
            ended.run_id = stream.run_id
        stream.log.append(ended, raw)
        now = datetime.now(UTC)
        stream.expires_at = now + timedelta(seconds=self.limits.retention)
        self._metrics.stream_ended(stream.kind, ended.outcome.value, (now - stream.started_at).total_seconds())
        self._later(self.limits.retention, self._forget, stream)

    def _abandon(self, stream: Stream) -> None:
        """The last one has left. A stream that nobody has read yet was started to be read: it gets its grace."""
        if stream.on_disconnect is OnDisconnect.CANCEL and stream.was_read:
            self.cancel(stream)
        else:
            stream.grace = self._later(self.limits.grace, self._leave, stream)

    def _leave(self, stream: Stream) -> None:
        if stream.readers == 0:
            self.cancel(stream)

    def cancel(self, stream: Stream) -> None:
        """Close the upstream now; the log ends ``CANCELLED``."""
        if stream.pump is not None:
            stream.pump.cancel()

    async def cancelled(self, stream: Stream) -> None:
        """Cancel a stream and see it to its end; one that has ended stays as it is."""
        self.cancel(stream)
        async for _ in read_entries(stream.log, max(0, len(stream.log.entries) - 1)):
            pass

    def _later(self, seconds: float, act: Callable[[Stream], None], stream: Stream) -> asyncio.TimerHandle:
        def run() -> None:
            self._timers.discard(timer)
            act(stream)

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)
        return timer

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.id, None)
        for key in [key for key, known in self._keys.items() if known[1] is stream]:
            del self._keys[key]


_INTERNAL = StreamFailure(code=ErrorCode.INTERNAL_ERROR, message="Something went wrong in the gateway.")


def _failed(error: GatewayError) -> Ended:
    failure = StreamFailure(code=error.code, message=error.message, reason=error.reason)
    return Ended(outcome=StreamOutcome.FAILED, error=failure)
