"""A stream, and where its events come from."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, Required, TypedDict

from clients.codes import Reason
from clients.errors import GatewayError, NotFound
from clients.letta.messages import MessageRecord
from clients.outcome import is_unconfirmed
from clients.usage import Usage
from resolvers.sent import is_sent
from resolvers.streams.events import Event, OnDisconnect, StreamOutcome, StreamStatus
from resolvers.streams.log import StreamLog


class Source(Protocol):
    """Where a stream's events come from. The kernel alone reads it, once.

    Attributes:
        run_id: the Letta run behind it, once that is known.
        usage: what the upstream has told of its usage so far; kept where the stream ends early.
        headers: response headers to pass on at the OpenAI door, set before the first event.
    """

    run_id: str | None
    usage: Usage | None
    headers: dict[str, str]

    def events(self) -> AsyncGenerator[tuple[Event, bytes]]:
        """Open the upstream and read it; closing the generator closes the upstream at once.

        Returns:
            Events with the upstream bytes to pass on, ``Started`` first and ``Ended`` last. An answer that stops
            without ``Ended`` was cut off.

        Raises:
            GatewayError: the upstream's refusal, before the first event.
        """


class How(TypedDict, total=False):
    """How a stream is to be: some of the attributes of ``Stream``."""

    kind: Required[str]
    on_disconnect: Required[OnDisconnect]
    key: str | None
    fingerprint: str
    scope: str | None
    kept: bool
    unknown: str | None
    looks: bool
    keeps_raw: bool
    holds: int


@dataclass(eq=False, kw_only=True, slots=True, weakref_slot=True)
class Stream:
    """A stream: its log, its owner, and who reads it. Also the record of the graph's ``Stream``.

    Attributes:
        source: where its events come from, while it runs.
        key: what it was started by, if a client may start it again: its owner, and the client's own key.
        fingerprint: tells the input that the key was used with.
        scope: the conversation it is a turn of, ``conv-…`` or ``agent-…``; ``None`` for a completion.
        headers: of its upstream, to pass on at the OpenAI door, once that has opened.
        opened: done when the upstream has opened; has the refusal of one that would not.
        begun: whether its source has said anything. One that was refused or cancelled before that never begins.
        unknown: the advice in the Conflict (``OUTCOME_UNKNOWN``) that it ends with where it is not known whether the
            upstream has taken what was sent; the key then stays taken. ``None`` where nothing is sent that must not be
            sent twice.
        looks: whether a source of the same key can look for what an earlier one has sent.
        kept: whether it can be read again after its end.
        keeps_raw: whether its upstream bytes are read: at the OpenAI door.
        holds: the bytes that its request takes in memory while it runs.
        weight: the bytes that it was counted with last, while it runs; ``weighed`` are those of its log.
        dropped: whether its answer was dropped after its end, to make room; its key is still taken.
        cancelled: whether it was told to end before its time; ``left`` if that was because its last reader left.
        unsure: whether it failed and it is not known what the upstream has done or will do.
        again: whether it was begun again under its key.
        late: whether a reader went on before the upstream had opened.
        starter: whoever began it, to tell them from who attaches.
        first_began: when the first attempt of its key began.
        settled_at: when nothing of it is on its way any more, about, on the clock of ``time.monotonic``.
        pump: what copies the source into the log.
        timer: what ends its grace or, after its end, its time on the shelf.
    """

    id: str
    owner_id: str
    kind: str
    source: Source | None
    on_disconnect: OnDisconnect
    key: str | None = None
    fingerprint: str = ""
    scope: str | None = None
    unknown: str | None = None
    looks: bool = False
    kept: bool = True
    keeps_raw: bool = True
    holds: int = 0
    weight: int = 0
    weighed: int = 0
    dropped: bool = False
    begun: bool = False
    cancelled: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    left: bool = False
    unsure: bool = False
    again: bool = False
    late: bool = False
    starter: weakref.ref[object] | None = None
    log: StreamLog = field(default_factory=StreamLog)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    first_began: datetime = field(default_factory=lambda: datetime.now(UTC))
    settled_at: float | None = None
    expires_at: datetime | None = None
    readers: int = 0
    was_read: bool = False
    opened: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    pump: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

    def drop_raw_taken(self) -> None:
        """From now on, drop upstream bytes that every reader has taken, unless the key can ask for them again.

        The reader at the OpenAI door calls it when it is counted as a reader.
        """
        self.log.entries.replays_raw = self.key is not None

    @property
    def run_id(self) -> str | None:
        """The Letta run behind it, once that is known."""
        ended = self.log.ended
        if ended is not None:
            return ended.run_id
        return None if self.source is None else self.source.run_id

    @property
    def status(self) -> StreamStatus:
        """Where it stands."""
        ended = self.log.ended
        return StreamStatus.RUNNING if ended is None else StreamStatus(ended.outcome.value)

    @property
    def broke_off(self) -> bool:
        """Whether its answer is not whole and will not be: it failed, or was or is being cancelled."""
        ended = self.log.ended
        return self.cancelled if ended is None else ended.outcome is not StreamOutcome.COMPLETED

    def begins_again(self, *, anew: bool) -> bool:
        """Whether its key begins again instead of attaching to it. See ``StreamHub.started``."""
        if self.left:
            return True
        if self.unsure:
            return self.looks
        if self.dropped and self.looks and not self.broke_off:
            return True
        return anew and self.broke_off

    def pack(self) -> None:
        """Pack the log of a stream that has ended."""
        self.log.entries.pack()

    def drop(self) -> None:
        """Drop the answer of a stream that has ended, but for its end."""
        ended = self.log.ended
        self.log = StreamLog()
        self.log.ended = ended
        self.headers = {}
        self.dropped = True

    def leaves_open(self, error: GatewayError) -> bool:
        """Whether it may still be carried out, or is, where it failed by this error.

        Where its run is known, the upstream has taken what was sent: the error only ended the reading of the answer,
        which can be read again unless it is too large.
        """
        return is_unconfirmed(error) or (self.run_id is not None and error.reason != Reason.TOO_LARGE)

    @property
    def user_message(self) -> MessageRecord | None:
        """What was sent to begin it; once Letta has stored that, as it is stored.

        ``None`` before the upstream has begun, and where nothing was sent that is a message: in a completion, after a
        decision, in a turn begun elsewhere.
        """
        sent = None if self.log.started is None else self.log.started.user_message
        if sent is None:
            return None
        added = (event.message for event in self.log.messages)
        return next((message for message in added if is_sent(message) and message.otid == sent.otid), sent)

    @property
    def text(self) -> str:
        """The answer so far, up to ``last_cursor``: read together, in one step, they are one snapshot.

        Raises:
            NotFound: where the answer was dropped meanwhile.
        """
        self._check()
        return self.log.entries.text

    @property
    def last_cursor(self) -> str:
        """The cursor of the newest event. Raises NotFound, as ``text``."""
        self._check()
        return str(len(self.log.entries))

    def _check(self) -> None:
        if self.dropped:
            raise NotFound("The stream's retention has ended.")

    def stop_timer(self) -> None:
        """Whatever was to come is not to come."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
