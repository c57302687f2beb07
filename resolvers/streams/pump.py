"""Copies events from sources into logs, and ends streams."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

from clients.codes import ErrorCode, Reason
from clients.errors import GatewayError, UpstreamError
from clients.outcome import outcome_unknown
from resolvers.outcome_unknown import is_passed_on, settled_at
from resolvers.streams.events import Batch, Ended, Event, OnDisconnect, Started, StreamFailure, StreamOutcome
from resolvers.streams.limits import StreamLimits, StreamMetrics
from resolvers.streams.merging import MAX_FRAME_BYTES, split
from resolvers.streams.registry import WEIGHED_BYTES, StreamRegistry
from resolvers.streams.stream import Source, Stream
from resolvers.streams.waiters import KeyedWaiters

_INTERNAL = StreamFailure(
    code=ErrorCode.INTERNAL_ERROR, message="The gateway had an internal error. Report the error to the operator."
)


class Pump:
    """Copies events from sources into streams' logs.

    ``begun`` wakes tasks that wait for a conversation's turn.
    """

    def __init__(self, limits: StreamLimits, metrics: StreamMetrics, registry: StreamRegistry) -> None:
        self.begun = KeyedWaiters()
        self._limits = limits
        self._metrics = metrics
        self._registry = registry
        self._is_closing = False
        self._settling: set[asyncio.Task[None]] = set()

    def start(self, stream: Stream) -> None:
        """Begin to copy the source's events into the stream's log."""
        self._registry.add(stream)
        self._metrics.stream_started(stream.kind)
        stream.pump = asyncio.create_task(self._run(stream))
        stream.pump.add_done_callback(lambda _: self.stopped(stream))

    def close(self) -> None:
        """Omit the accounting for answers from now on, because the process stops."""
        self._is_closing = True
        for settling in self._settling:
            settling.cancel()

    async def _run(self, stream: Stream) -> None:
        source = stream.source
        if source is None:
            return
        try:
            batches = source.events()
            try:
                await self._copy(stream, batches)
            finally:
                try:
                    await batches.aclose()
                finally:
                    await self._settle(source, stream)
        except asyncio.CancelledError:
            self.stopped(stream)
        except GatewayError as error:
            self._fail(stream, error)
        except Exception as error:  # noqa: BLE001 - any failure of a source ends the stream for its readers
            self._metrics.source_broke(stream.kind, error)
            self._break_off(stream, StreamOutcome.FAILED, _INTERNAL)

    async def _settle(self, source: Source, stream: Stream) -> None:
        """Account for an answer.

        If the stream is cancelled meanwhile, the stream ends at once, and the accounting continues. How the stream ends
        depends only on the answer.
        """
        if self._is_closing:
            return
        settling = asyncio.create_task(_settled(source, stream))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        try:
            await asyncio.shield(settling)
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - a bug in the accounting does not change the answer
            self._metrics.source_broke(stream.kind, error)

    async def _copy(self, stream: Stream, batches: AsyncIterator[Batch]) -> None:
        loop, limits, log = asyncio.get_running_loop(), self._limits, stream.log
        before, is_first = loop.time(), True
        async for batch in batches:
            if frames := _frames(batch):
                now = loop.time()
                if is_first:
                    self._metrics.first_token(stream.kind, now - before)
                    frames, before, is_first = frames - 1, now, False
                if frames:
                    self._metrics.next_frames(stream.kind, now - before, frames)
                before = now
            if not self._add(stream, batch):
                return
            size, weight = log.size, log.weight
            if weight > stream.weighed + WEIGHED_BYTES:
                self._registry.grown(stream)
            if size > limits.max_log or weight > limits.max_memory:
                raise UpstreamError(
                    "The answer is too large. Request a shorter answer.", reason=Reason.TOO_LARGE, can_retry=False
                )
            if size > limits.max_lead and stream.on_disconnect is OnDisconnect.CANCEL:
                await log.caught_up(limits.max_lead)
                before = loop.time()
            del batch  # the next batch can take minutes
        message = (
            "The connection to Letta or LiteLLM broke. Retry the request with the same idempotency key or stream key."
        )
        raise UpstreamError(message, reason=Reason.CUT)

    def _add(self, stream: Stream, batch: Batch) -> bool:
        """Append a batch to the stream's log. Return False if the stream has ended."""
        mark, keeps_raw = 0 if stream.source is None else stream.source.mark, stream.keeps_raw
        for event, raw in batch.events:
            if isinstance(event, Ended):
                self._end(stream, event, raw)
                return False
            if isinstance(event, Started):
                stream.headers = {} if stream.source is None else dict(stream.source.headers)
            self._append(stream, event, raw if keeps_raw else b"", mark)
        if not stream.begun:
            stream.begun = True
            if stream.conversation is not None:
                self.begun.wake((stream.owner, stream.conversation))
        return True

    def _append(self, stream: Stream, event: Event, raw: bytes = b"", mark: int = 0) -> None:
        for piece in (event,) if event.size <= MAX_FRAME_BYTES else split(event):
            stream.log.append(piece, raw, mark)
            raw = b""
        if not stream.opened.done():
            stream.opened.set_result(None)

    def _fail(self, stream: Stream, error: GatewayError) -> None:
        """End a failed stream. If the service refused the request, another request can use the stream's key."""
        opened = stream.opened.done()
        stream.settled_at = settled_at(error)
        if stream.unknown is not None and stream.leaves_open(error):
            stream.unsure = True
            if not opened and not is_passed_on(error, can_search=stream.can_search):
                error = outcome_unknown(stream.unknown, error)
        if not opened:
            stream.refusal = error.copy()
            stream.opened.set_exception(stream.refusal)
            stream.opened.exception()  # otherwise, asyncio reports an error that no request has retrieved
        self._break_off(stream, StreamOutcome.FAILED, StreamFailure.of(error))
        if not opened and not stream.unsure:
            (self._registry.free if stream.late else self._registry.remove)(stream)

    def stopped(self, stream: Stream) -> None:
        """End a stream whose pump was cancelled, unless another replica continues the stream."""
        if stream.is_mirrored:
            stream.source = None
        elif stream.failing is not None and not stream.log.is_closed:
            self._fail(stream, stream.failing)
        else:
            self._break_off(stream, StreamOutcome.CANCELLED)

    def _break_off(self, stream: Stream, outcome: StreamOutcome, error: StreamFailure | None = None) -> None:
        if not stream.log.is_closed:
            self._end(stream, stream.ending(outcome, error))

    def _end(self, stream: Stream, ended: Ended, raw: bytes = b"") -> None:
        if not stream.log.is_begun:
            self._append(stream, Started(run_id=stream.run_id))
        stream.settled_at = stream.settled_at or settled_at(None)
        if stream.unknown is not None and ended.error is not None and ended.error.reason is Reason.OWNER_LOST:
            stream.unsure = True
        stream.log.on_end = partial(self._ended, stream, ended)
        self._append(stream, ended, raw)

    def _ended(self, stream: Stream, ended: Ended) -> None:
        """Retain a stream whose end readers can read."""
        stream.source = None  # releases the request, which may be large
        now = datetime.now(UTC)
        stream.expires_at = now + timedelta(seconds=self._limits.retention)
        if ended.usage is not None:
            self._metrics.tokens_used(stream.kind, ended.usage.prompt_tokens, ended.usage.completion_tokens)
        self._metrics.stream_ended(stream.kind, ended.outcome.value, (now - stream.started_at).total_seconds())
        if not stream.retained:
            self._registry.remove(stream)
            return
        if stream.readers == 0:
            stream.log.pack()
        if self._registry.retain(stream):
            stream.start_timer(self._limits.retention, self._registry.remove)


async def _settled(source: Source, stream: Stream) -> None:
    await source.settle(stream.log)
    if stream.abandoned and stream.log.is_begun:
        await source.abandoned()


def _frames(batch: Batch) -> int:
    """Return how many frames of the service a batch has, without the stream's start and end."""
    events = batch.events
    return len(events) + batch.joined - isinstance(events[0][0], Started) - isinstance(events[-1][0], Ended)
