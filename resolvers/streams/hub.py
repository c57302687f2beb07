"""The kernel: starts a source once per key, pumps it into a log, closes it when nobody needs it any more."""

from __future__ import annotations

import asyncio
import sys
import uuid
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Unpack

from clients.bounded import Quotas
from clients.errors import GatewayError, UpstreamError
from clients.outcome import outcome_unknown
from resolvers.doubt import says_itself, settled_at
from resolvers.sources.failures import INTERNAL
from resolvers.streams.attached import Attached, Starting
from resolvers.streams.events import (
    Ended,
    Event,
    OnDisconnect,
    Started,
    StreamFailure,
    StreamOutcome,
)
from resolvers.streams.limits import OWNERS, StreamLimits, StreamMetrics, dropped, too_many_readers
from resolvers.streams.log import Leave, read_events
from resolvers.streams.merging import MAX_FRAME_BYTES, split
from resolvers.streams.shelf import WEIGHED_BYTES, Shelf
from resolvers.streams.stream import How, Source, Stream
from resolvers.streams.waiters import Waiters, woken


class StreamHub:
    """All streams of this process."""

    def __init__(self, limits: StreamLimits, metrics: StreamMetrics) -> None:
        self.limits = limits
        self._metrics = metrics
        self._memory = Quotas(limits.memory, limits.memory // OWNERS)
        self._shelf = Shelf(self._memory)
        self._readers = Quotas(sys.maxsize, limits.max_readers_per_user)
        self._awaited: dict[tuple[str, str | None], Waiters] = {}

    @property
    def memory(self) -> int:
        """The bytes that all streams take, about."""
        return self._memory.total

    def get(self, stream_id: str, owner_id: str) -> Stream:
        """The owner's stream of that id. Raises NotFound."""
        return self._shelf.get(stream_id, owner_id)

    def of(self, owner_id: str) -> list[Stream]:
        """The owner's streams, oldest first."""
        return self._shelf.of(owner_id)

    def attaches(self, owner_id: str, key: str, *, anew: bool = False) -> bool:
        """Whether the owner's key would attach to what it has started, or look for it. See ``started``."""
        stream = self._shelf.at_key(owner_id, key)
        return stream is not None and (stream.looks or not stream.begins_again(anew=anew))

    def earlier(self, owner_id: str, key: str) -> Stream | None:
        """What the owner's key has started last; a source that begins again can go on from it."""
        return self._shelf.at_key(owner_id, key)

    def started(
        self,
        owner_id: str,
        *,
        source: Callable[[], Source],
        key: str | None = None,
        fingerprint: str = "",
        reads: bool = True,
        anew: bool = False,
        starter: object | None = None,
        on_reuse: Callable[[], Awaitable[None]] | None = None,
        **how: Unpack[How],
    ) -> Starting:
        """Start a stream, or attach to what the same key has started, for as long as the context lasts.

        A key starts again where its stream was cancelled because its last reader left, and where it is not known
        whether the upstream has taken what was sent if the ``source`` can look for that (see ``earlier``).

        Without ``reads`` the caller only starts it, for somebody else to read. With ``anew``, the key starts again also
        where its stream failed, or was cancelled by anybody. ``starter`` is whoever starts it, see ``is_replay``;
        ``on_reuse`` is awaited where nothing was started; ``how`` is of the stream, see there.

        Entering the context raises:
            Conflict: reason ``KEY_REUSED``, when the key was used with other input; ``ANSWER_DROPPED``, when what it
                has started is over and its answer has made room for others.
            RateLimited: reason ``STREAMS``, ``READERS`` or ``STREAM_MEMORY``, where the owner has too many or too much.
            Overloaded: reason ``STREAM_MEMORY``, where all owners together have too much.
            GatewayError: the upstream's refusal, if it comes within one heartbeat.
        """
        begin = partial(self._find_or_start, owner_id, source, key, fingerprint, anew, starter, how)
        return Starting(self, begin, reads=reads, on_reuse=on_reuse)

    def _find_or_start(
        self,
        owner_id: str,
        source: Callable[[], Source],
        key: str | None,
        fingerprint: str,
        anew: bool,
        starter: object | None,
        how: How,
    ) -> tuple[Stream, bool]:
        """The stream of a key, or a new one, and whether it is new. Raises as entering ``started`` does."""
        earlier = self._shelf.by_key(owner_id, key, fingerprint)
        stream = None if earlier is not None and earlier.begins_again(anew=anew) else earlier
        if stream is not None and stream.dropped:
            raise dropped()
        if stream is not None:
            return stream, False
        self._check_readers(owner_id)
        self._shelf.check_room(owner_id, how.get("holds", 0), self.limits.max_streams_per_user)
        stream = Stream(
            id=f"stream:{uuid.uuid4()}",
            owner_id=owner_id,
            source=source(),
            key=key,
            fingerprint=fingerprint,
            starter=None if starter is None else weakref.ref(starter),
            **how,
        )
        if earlier is not None:
            stream.again, stream.first_began = True, earlier.first_began
        self._start(stream)
        return stream, True

    def attached(self, stream: Stream, *, reads: bool = True) -> Attached:
        """Be a reader of a stream. When the last one leaves, ``on_disconnect`` decides about the upstream.

        Entering it raises:
            RateLimited: reason ``READERS``.
        """
        return Attached(self, stream, reads=reads)

    def attach(self, stream: Stream, *, reads: bool) -> None:
        """Count a reader. Raises RateLimited."""
        self._check_readers(stream.owner_id)
        self._readers.add(stream.owner_id, 1)
        stream.readers += 1
        stream.was_read = stream.was_read or reads
        stream.log.let_go = False
        if stream.log.ended is None:
            stream.stop_timer()

    def detach(self, stream: Stream) -> None:
        """Count a reader no longer."""
        stream.readers -= 1
        self._readers.add(stream.owner_id, -1)
        if stream.readers == 0:
            self._unread(stream)

    async def begun(self, owner_id: str, scope: str, *others: Waiters) -> None:
        """Wait until a turn of the owner's conversation begins here, or one of the others wakes."""
        waiters = self._awaited.setdefault((owner_id, scope), Waiters())
        try:
            await woken(waiters, *others)
        finally:
            if not waiters:
                self._awaited.pop((owner_id, scope), None)

    def is_replay(self, stream: Stream, reader: object) -> bool:
        """Whether a reader attaches to what somebody else has started, or an earlier attempt of the same key."""
        return stream.again or stream.starter is None or stream.starter() is not reader

    def events(
        self, stream: Stream, after: str | None, leave: Leave | None = None, *, replayed: bool = False
    ) -> AsyncIterator[Event]:
        """The stream's events after a cursor, as a GraphQL door sends them; see ``read_events``."""
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

    async def aclose(self) -> None:
        """Cancel everything; the process is going."""
        streams = self._shelf.all()
        pumps = [stream.pump for stream in streams if stream.pump is not None]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for stream in streams:
            stream.stop_timer()

    def _check_readers(self, owner_id: str) -> None:
        if not self._readers.has_room(owner_id):
            raise too_many_readers(self.limits.max_readers_per_user)

    def _start(self, stream: Stream) -> None:
        self._shelf.add(stream)
        self._metrics.stream_started(stream.kind)
        stream.pump = asyncio.create_task(self._pump(stream))
        stream.pump.add_done_callback(lambda _: self._end(stream, Ended(outcome=StreamOutcome.CANCELLED)))

    async def opened(self, stream: Stream) -> None:
        """Wait for the stream to begin, one heartbeat at most; a refusal after that is in the stream."""
        done, _ = await asyncio.wait({stream.opened}, timeout=self.limits.heartbeat)
        if done:
            stream.opened.result()
        else:
            stream.late = True

    async def _pump(self, stream: Stream) -> None:
        if stream.source is None:
            return
        try:
            async with aclosing(stream.source.events()) as events:
                await self._copy(stream, events)
        except asyncio.CancelledError:
            self._end(stream, Ended(outcome=StreamOutcome.CANCELLED))
        except GatewayError as error:
            self._failed(stream, error)
        except Exception as error:  # noqa: BLE001 - whatever went wrong in a source, its readers must be told
            self._metrics.source_broke(stream.kind, error)
            self._end(stream, Ended(outcome=StreamOutcome.FAILED, error=INTERNAL))

    async def _copy(self, stream: Stream, events: AsyncIterator[tuple[Event, bytes]]) -> None:
        loop, limits, entries = asyncio.get_running_loop(), self.limits, stream.log.entries
        before, first = loop.time(), True
        async for event, raw in events:
            if isinstance(event, Ended):
                self._end(stream, event, raw)
                return
            if isinstance(event, Started):
                event.stream_id = stream.id
                stream.headers = {} if stream.source is None else dict(stream.source.headers)
            else:
                now = loop.time()
                (self._metrics.first_token if first else self._metrics.next_frame)(stream.kind, now - before)
                before, first = now, False
            self._append(stream, event, raw if stream.keeps_raw else b"")
            if not stream.begun:
                self._begun(stream)
            size, weight = entries.size, entries.weight
            if weight > stream.weighed + WEIGHED_BYTES:
                self._shelf.grown(stream)
            if size > limits.max_log or weight > limits.max_memory:
                raise UpstreamError("The answer is too large.", reason="TOO_LARGE", can_retry=False)
            if size > limits.max_lead and stream.on_disconnect is OnDisconnect.CANCEL:
                await stream.log.caught_up(limits.max_lead)
                before = loop.time()
        raise UpstreamError("The answer was cut off.", reason="CUT")

    def _begun(self, stream: Stream) -> None:
        stream.begun = True
        if (waiters := self._awaited.get((stream.owner_id, stream.scope))) is not None:
            waiters.wake()

    def _append(self, stream: Stream, event: Event, raw: bytes = b"") -> None:
        """Add an event to the log, a large delta in pieces. With the first one, the stream has begun."""
        for piece in (event,) if event.size <= MAX_FRAME_BYTES else split(event):
            stream.log.append(piece, raw)
            raw = b""
        if not stream.opened.done():
            stream.opened.set_result(None)

    def _failed(self, stream: Stream, error: GatewayError) -> None:
        """End a stream that failed. Where it had not begun, those who wait for that are told.

        A refusal leaves the key free. Where it is not known what the upstream has done, the key stays taken.
        """
        begun = stream.opened.done()
        stream.settled_at = settled_at(error)
        if stream.unknown is not None and stream.leaves_open(error):
            stream.unsure = True
            if not begun and not says_itself(error, looks=stream.looks):
                error = outcome_unknown(stream.unknown, error)
        if not begun:
            stream.opened.set_exception(error)
            stream.opened.exception()  # seen: there may be nobody left who waits
            if not stream.unsure:
                (self._shelf.free if stream.late else self._shelf.forget)(stream)
        self._end(stream, Ended(outcome=StreamOutcome.FAILED, error=StreamFailure.of(error)))

    def _end(self, stream: Stream, ended: Ended, raw: bytes = b"") -> None:
        if stream.log.ended is not None:
            return
        ended.run_id, ended.scope = ended.run_id or stream.run_id, ended.scope or stream.scope
        if ended.usage is None and stream.source is not None:
            ended.usage = stream.source.usage
        if stream.log.started is None:
            self._append(stream, Started(stream_id=stream.id, run_id=stream.run_id))
        self._append(stream, ended, raw)
        stream.source = None  # what was sent may be large, and nobody needs it any more
        now = datetime.now(UTC)
        stream.settled_at = stream.settled_at or settled_at(None)
        stream.expires_at = now + timedelta(seconds=self.limits.retention)
        if ended.usage is not None:
            self._metrics.tokens_used(stream.kind, ended.usage.prompt_tokens, ended.usage.completion_tokens)
        self._metrics.stream_ended(stream.kind, ended.outcome.value, (now - stream.started_at).total_seconds())
        if not stream.kept:
            self._shelf.forget(stream)
            return
        if stream.readers == 0:
            stream.pack()
        if self._shelf.ended(stream):
            self._later(stream, self.limits.retention, self._shelf.forget)

    def _unread(self, stream: Stream) -> None:
        """Nobody reads it any more."""
        if stream.log.ended is None:
            self._abandon(stream)
        elif not stream.dropped:
            stream.pack()
            self._shelf.packed(stream)

    def _abandon(self, stream: Stream) -> None:
        """The last reader has left.

        A stream gets its grace all the same where nobody has read it yet, since it was started to be read, and where a
        reader was detached, since it was given a cursor to come back with.
        """
        if stream.on_disconnect is OnDisconnect.CANCEL and stream.was_read and not stream.log.let_go:
            self._leave(stream)
        else:
            self._later(stream, self.limits.grace, self._leave)

    def _leave(self, stream: Stream) -> None:
        """Cancel a stream that nobody reads. Its reader may have been cut off: its key begins again."""
        if stream.readers == 0:
            stream.left = not stream.cancelled
            self.cancel(stream)

    def cancel(self, stream: Stream) -> None:
        """Close the upstream now; the log ends ``CANCELLED``."""
        if stream.pump is not None:
            stream.cancelled = True
            stream.pump.cancel()

    async def cancelled(self, stream: Stream) -> None:
        """Cancel a stream and see it to its end, which its key replays; one that has ended stays as it is."""
        self.cancel(stream)
        stream.left = False
        await stream.log.end()

    def _later(self, stream: Stream, seconds: float, act: Callable[[Stream], None]) -> None:
        stream.stop_timer()
        stream.timer = asyncio.get_running_loop().call_later(seconds, act, stream)
