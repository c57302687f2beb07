"""A stream, the request that starts it, and the source of its events."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Protocol

from clients.codes import Reason
from clients.errors import GatewayError, NotFound
from clients.origin import Owner
from clients.outcome import is_unconfirmed
from clients.usage import Usage
from resolvers.streams.events import Batch, Ended, OnDisconnect, StreamFailure, StreamOutcome, StreamStatus
from resolvers.streams.log import StreamLog


class Source(Protocol):
    """The source of a stream's events. A source can be read only once.

    Attributes:
        run_id: the id of Letta's run, once it is known.
        usage: the usage that the service has reported so far, for a stream that ends early.
        headers: the service's headers for the OpenAI endpoint, set before the first event.
        mark: the position in Letta's stream of the events that ``events`` has just yielded; 0 if there is no position.
    """

    run_id: str | None
    usage: Usage | None
    headers: dict[str, str]
    mark: int

    def recipe(self) -> bytes:
        """Return the data with which another replica continues or ends the stream, if this process stops."""

    def events(self) -> AsyncGenerator[Batch]:
        """Open the upstream call, and yield the events that arrive together. The first event is ``Started``.

        An answer without ``Ended`` is incomplete. If the service refuses the request, GatewayError is raised before the
        first event. Closing the generator closes the call at once.
        """

    async def settle(self, log: StreamLog) -> None:
        """Account for the answer after ``events`` has ended or was closed.

        If the answer is incomplete, so that the log has no end yet, the method also sets ``usage``.
        """

    async def abandoned(self) -> None:
        """Stop the service's work after a begun stream was cancelled because it had no readers.

        The method is called after ``settle``, and the stream ends after the method returns.
        """


@dataclass(eq=False, kw_only=True, slots=True)
class StreamTerms:
    """The fields that a stream copies from its request.

    Attributes:
        kind: the label of the stream in metrics.
        key: the stream key; ``None`` for a request that cannot be repeated.
        conversation: the conversation of a turn, ``conv-…`` or ``agent-…``; ``None`` for a completion.
        unknown: the message of the Conflict (``OUTCOME_UNKNOWN``), after which the key cannot be used again; ``None``
            if the request may be sent twice.
        can_search: whether a new source can search for the request that an earlier source with the key has sent.
        retained: whether the stream can be read after its end.
        keeps_raw: whether the log keeps upstream bytes for the OpenAI endpoint.
        request_bytes: the memory of the request while the stream runs.
    """

    owner: Owner
    kind: str
    on_disconnect: OnDisconnect
    key: str | None = None
    fingerprint: str = ""
    conversation: str | None = None
    unknown: str | None = None
    can_search: bool = False
    retained: bool = True
    keeps_raw: bool = True
    request_bytes: int = 0


_TERMS = [term.name for term in fields(StreamTerms)]


@dataclass(eq=False, kw_only=True, slots=True)
class StreamRequest(StreamTerms):
    """A request to start a stream, or to attach to the stream with the request's key.

    Attributes:
        source: creates the source, if a stream is started. Its argument is the earlier stream with the request's key.
        reads: whether the operation also reads the stream.
        restarts: whether a new stream is started if the key's earlier stream failed or was cancelled.
        starter: the operation, see ``StreamHub.is_replay``.
        on_reuse: awaited if the request attaches to an existing stream.
    """

    source: Callable[[Stream | None], Source]
    reads: bool = True
    restarts: bool = False
    starter: object | None = None
    on_reuse: Callable[[], Awaitable[None]] | None = None


@dataclass(eq=False, kw_only=True, slots=True, weakref_slot=True)
class Stream(StreamTerms):
    """A stream, with its log, owner and readers. Resolvers of the GraphQL type ``Stream`` receive this object.

    Attributes:
        source: the source while the stream runs.
        opened: done when the service has begun to answer, or has refused.
        begun: whether the source has yielded an event.
        weight: the memory of the running stream as last counted; ``weighed`` is the log's memory.
        evicted: whether the answer was evicted after the end. The key cannot be used again.
        cancelled: whether the stream was cancelled; ``abandoned`` if the last reader had detached.
        unsure: whether the stream failed with an unknown outcome.
        refusal: the error with which the service refused the request.
        reported_run_id: the run id that another replica has reported.
        failing: the error with which the gateway ends the running stream.
        is_mirrored: whether another replica holds the stream, so that this process only reads the stream.
        elsewhere: the number of other replicas that have readers of a stream that this process holds.
        restarted: whether an earlier stream was started with the key; ``first_began`` is the first stream's start time.
        late: whether a reader began before the stream opened.
        answered: whether a client of ``/v1`` has begun to receive the answer of a turn from this process, or from the
            holder before the stream ended.
        settled_at: when a search for the request is final, see ``resolvers.outcome_unknown`` (``time.monotonic``).
        pump: the task that copies the source into the log.
        timer: ends the grace period or, after the end, the retention.
    """

    id: str
    source: Source | None
    log: StreamLog
    weight: int = 0
    weighed: int = 0
    evicted: bool = False
    begun: bool = False
    cancelled: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    abandoned: bool = False
    unsure: bool = False
    refusal: GatewayError | None = None
    reported_run_id: str | None = None
    failing: GatewayError | None = None
    is_mirrored: bool = False
    elsewhere: int = 0
    restarted: bool = False
    late: bool = False
    answered: bool = False
    starter: weakref.ref[object] | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    first_began: datetime = field(default_factory=lambda: datetime.now(UTC))
    settled_at: float | None = None
    expires_at: datetime | None = None
    readers: int = 0
    was_read: bool = False
    opened: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    pump: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(
        cls,
        request: StreamRequest,
        stream_id: str,
        log: StreamLog,
        earlier: Stream | None = None,
        *,
        since: datetime | None = None,
    ) -> Stream:
        """Create the stream for a request.

        Args:
            request: the request.
            stream_id: the stream's id.
            log: the stream's log.
            earlier: the earlier stream with the request's key.
            since: the time since which another replica may have sent the request, if this is not known.
        """
        terms = {name: getattr(request, name) for name in _TERMS}
        starter = None if request.starter is None else weakref.ref(request.starter)
        stream = cls(id=stream_id, source=None, log=log, starter=starter, **terms)
        if since is not None and earlier is None:
            attempt = cls(id=stream_id, source=None, log=log, first_began=since, settled_at=time.monotonic(), **terms)
            stream.source = request.source(attempt)
        else:
            stream.source = request.source(earlier)
        if earlier is not None:
            stream.restarted, stream.first_began = True, earlier.first_began
        return stream

    def drop_raw_taken(self) -> None:
        """Drop upstream bytes that all readers have read, unless the stream has a key."""
        self.log.replays_raw = self.key is not None

    @property
    def run_id(self) -> str | None:
        """The id of Letta's run, or ``None`` if the id is not known yet."""
        ended = self.log.ended
        if ended is not None:
            return ended.run_id
        return self.reported_run_id if self.source is None else self.source.run_id

    @property
    def status(self) -> StreamStatus:
        """The status of the stream."""
        ended = self.log.ended
        return StreamStatus.RUNNING if ended is None else StreamStatus(ended.outcome.value)

    @property
    def broke_off(self) -> bool:
        """Return whether the stream failed or was cancelled, so that the answer is incomplete."""
        ended = self.log.ended
        return self.cancelled if ended is None else ended.outcome is not StreamOutcome.COMPLETED

    def is_started_by(self, operation: object) -> bool:
        """Return whether the operation has started the stream."""
        return self.starter is not None and self.starter() is operation

    def is_repeated_by(self, operation: object) -> bool:
        """Return whether an earlier operation has executed the operation's request.

        A source that can search for an earlier request may continue the request. Any other source sends it again.
        """
        return (self.restarted and self.can_search) or not self.is_started_by(operation)

    def is_restarted_by(self, *, restarts: bool) -> bool:
        """Return whether a request with this stream's key starts a new stream."""
        if self.refusal is not None and not self.unsure:
            return True
        if self._is_over_bound:
            return False
        if self.abandoned:
            return True
        if self.unsure:
            return self.can_search
        if self.evicted and self.can_search and not self.broke_off:
            return True
        return restarts and self.broke_off

    @property
    def _is_over_bound(self) -> bool:
        """Return whether the answer exceeded ``maxCostUsd``, as a repeated request would do too."""
        ended = self.log.ended
        return ended is not None and ended.error is not None and ended.error.reason is Reason.MAX_COST

    def evict(self) -> None:
        """Remove an ended stream's answer from memory, but keep the last event."""
        self.log.evict()
        self.headers = {}
        self.evicted = True

    def ending(self, outcome: StreamOutcome, error: StreamFailure | None = None) -> Ended:
        """Create the last event for a stream whose source has not yielded ``Ended``."""
        usage = None if self.source is None else self.source.usage
        return Ended(outcome=outcome, error=error, usage=usage, run_id=self.run_id, conversation=self.conversation)

    def leaves_open(self, error: GatewayError) -> bool:
        """Return whether the service may still execute the request of a failed stream.

        If the run is known, the answer can be read again unless the answer is too large.
        """
        return is_unconfirmed(error) or (self.run_id is not None and error.reason != Reason.TOO_LARGE)

    @property
    def text(self) -> str:
        """The answer's text up to ``last_cursor``. Raises NotFound if the answer was evicted."""
        self._check()
        return self.log.text

    @property
    def last_cursor(self) -> str:
        """The cursor of the newest event. Raises NotFound if the answer was evicted."""
        self._check()
        return self.log.cursor(self.log.length)

    def _check(self) -> None:
        if self.evicted:
            raise NotFound("The stream has expired, so clients can no longer read the answer.")

    def start_timer(self, seconds: float, act: Callable[[Stream], None]) -> None:
        """Call ``act`` with the stream after a delay. Stop the stream's previous timer, if any."""
        self.stop_timer()
        self.timer = asyncio.get_running_loop().call_later(seconds, act, self)

    def stop_timer(self) -> None:
        """Stop the stream's timer, if any."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
