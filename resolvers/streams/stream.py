"""A stream, the request that starts it, and the source of its events."""

from __future__ import annotations

import asyncio
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
from resolvers.streams.events import Ended, Event, OnDisconnect, StreamFailure, StreamOutcome, StreamStatus
from resolvers.streams.log import StreamLog


class Source(Protocol):
    """The source of a stream's events. The kernel reads it once.

    Attributes:
        run_id: the upstream's run, when it is known.
        usage: the usage that the upstream has reported so far, for a stream that ends early.
        headers: the upstream's headers for the OpenAI endpoint, set before the first event.
    """

    run_id: str | None
    usage: Usage | None
    headers: dict[str, str]

    def events(self) -> AsyncGenerator[tuple[Event, bytes]]:
        """Open the upstream and read it. Closing the generator closes the upstream at once.

        Yields events with the upstream bytes to pass on, ``Started`` first. An answer without a last ``Ended`` was cut
        off. Raises the upstream's refusal (GatewayError) before the first event.
        """


@dataclass(eq=False, kw_only=True, slots=True)
class StreamTerms:
    """The part of a request that its stream keeps.

    Attributes:
        kind: the label of the stream in metrics.
        key: the stream key; ``None`` for a request that cannot be repeated.
        conversation: the conversation of a turn, ``conv-…`` or ``agent-…``; ``None`` for a completion.
        unknown: the message of the Conflict (``OUTCOME_UNKNOWN``), after which the key stays taken; ``None`` if the
            request may be sent twice.
        looks: whether a source of the same key can search for what an earlier one has sent.
        retained: whether the stream can be read after its end.
        keeps_raw: whether its upstream bytes are read, at the OpenAI endpoint.
        request_bytes: the bytes of the request in memory while the stream runs.
    """

    owner: Owner
    kind: str
    on_disconnect: OnDisconnect
    key: str | None = None
    fingerprint: str = ""
    conversation: str | None = None
    unknown: str | None = None
    looks: bool = False
    retained: bool = True
    keeps_raw: bool = True
    request_bytes: int = 0


@dataclass(eq=False, kw_only=True, slots=True)
class StreamRequest(StreamTerms):
    """A request to start a stream, or to attach to the one that its key has started.

    Attributes:
        source: makes the source, if a stream is started.
        reads: whether the operation also reads the stream.
        restarts: whether the key starts again if its stream failed or was cancelled.
        starter: the operation, see ``StreamHub.is_replay``.
        on_reuse: awaited if no stream was started.
    """

    source: Callable[[], Source]
    reads: bool = True
    restarts: bool = False
    starter: object | None = None
    on_reuse: Callable[[], Awaitable[None]] | None = None


@dataclass(eq=False, kw_only=True, slots=True, weakref_slot=True)
class Stream(StreamTerms):
    """A stream: its log, its owner and its readers. It is also the record of the graph's ``Stream``.

    Attributes:
        source: the source, while it runs.
        opened: done when the upstream has opened or refused.
        begun: whether its source has had an event.
        weight: the bytes with which it was counted last, while it runs; ``weighed`` are those of its log.
        evicted: whether its answer was evicted after its end; its key is still taken.
        cancelled: whether it was cancelled; ``abandoned`` if that was because its last reader detached.
        unsure: whether it failed with an unknown outcome.
        restarted: whether its key had started a stream before; ``first_began`` is when the first began.
        late: whether a reader continued before the upstream had opened.
        settled_at: from when on a search for its request counts, see ``resolvers.doubt`` (``time.monotonic``).
        pump: the task that copies the source into the log.
        timer: ends its grace period or, after its end, its retention.
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
    restarted: bool = False
    late: bool = False
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
    def of(cls, request: StreamRequest, stream_id: str, log: StreamLog) -> Stream:
        """Make the stream that a request starts."""
        terms = {term.name: getattr(request, term.name) for term in fields(StreamTerms)}
        starter = None if request.starter is None else weakref.ref(request.starter)
        return cls(id=stream_id, source=request.source(), log=log, starter=starter, **terms)

    def drop_raw_taken(self) -> None:
        """Drop upstream bytes that every reader has taken, unless a request with the key can read them again.

        The reader at the OpenAI endpoint calls this when it has attached.
        """
        self.log.replays_raw = self.key is not None

    @property
    def run_id(self) -> str | None:
        """The upstream's run, when it is known."""
        ended = self.log.ended
        if ended is not None:
            return ended.run_id
        return None if self.source is None else self.source.run_id

    @property
    def status(self) -> StreamStatus:
        """The status of the stream."""
        ended = self.log.ended
        return StreamStatus.RUNNING if ended is None else StreamStatus(ended.outcome.value)

    @property
    def broke_off(self) -> bool:
        """Whether its answer stays incomplete: it failed, or was or is being cancelled."""
        ended = self.log.ended
        return self.cancelled if ended is None else ended.outcome is not StreamOutcome.COMPLETED

    def is_restarted_by(self, *, restarts: bool) -> bool:
        """Whether its key starts again instead of attaching to it. See ``StreamHub.start``."""
        if self.abandoned:
            return True
        if self.unsure:
            return self.looks
        if self.evicted and self.looks and not self.broke_off:
            return True
        return restarts and self.broke_off

    def evict(self) -> None:
        """Evict the answer of a stream that has ended. Its end stays."""
        self.log.evict()
        self.headers = {}
        self.evicted = True

    def ending(self, outcome: StreamOutcome, error: StreamFailure | None = None) -> Ended:
        """Return the end of a stream whose source has not ended it."""
        usage = None if self.source is None else self.source.usage
        return Ended(outcome=outcome, error=error, usage=usage, run_id=self.run_id, conversation=self.conversation)

    def leaves_open(self, error: GatewayError) -> bool:
        """Whether the upstream may carry out the request although the stream failed with an error.

        If the run is known, the upstream has the request, and the answer can be read again unless it is too large.
        """
        return is_unconfirmed(error) or (self.run_id is not None and error.reason != Reason.TOO_LARGE)

    @property
    def text(self) -> str:
        """The answer up to ``last_cursor``. Raises NotFound if it was evicted."""
        self._check()
        return self.log.text

    @property
    def last_cursor(self) -> str:
        """The cursor of the newest event. Raises NotFound, as ``text``."""
        self._check()
        return str(self.log.length)

    def _check(self) -> None:
        if self.evicted:
            raise NotFound("The stream's retention has ended.")

    def start_timer(self, seconds: float, act: Callable[[Stream], None]) -> None:
        """Call ``act`` with the stream after some seconds, unless the timer is stopped or started again."""
        self.stop_timer()
        self.timer = asyncio.get_running_loop().call_later(seconds, act, self)

    def stop_timer(self) -> None:
        """Cancel the pending grace or retention timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
