"""A stream, and where its events come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from clients.letta.messages import MessageRecord
from clients.letta.records import Usage
from resolvers.sent import is_sent
from resolvers.streams.events import Event, MessageAdded, OnDisconnect, Started, StreamOutcome, StreamStatus, TextDelta
from resolvers.streams.log import StreamLog


class Source(Protocol):
    """Where a stream's events come from. A source is opened once and read to its end by the kernel alone.

    Attributes:
        run_id: the Letta run behind it, once that is known.
        usage: what the upstream has told of its usage so far; kept where the stream ends early.
        headers: response headers to pass on at the OpenAI door, once the upstream has opened.
    """

    run_id: str | None
    usage: Usage | None
    headers: dict[str, str]

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[tuple[Event, bytes]]]:
        """Open the upstream; entering raises its refusal, leaving closes it at once.

        The iterator yields events with the upstream bytes to pass on, ``Started`` first and ``Ended`` last. One that
        stops without ``Ended`` has been cut.
        """


@dataclass(eq=False, kw_only=True)
class Stream:
    """A stream: its log, its owner, and who reads it. Also the record of the graph's ``Stream``.

    Attributes:
        source: where its events come from, while it runs.
        key: what it was started by, if a client may start it again: its owner, and the client's own key.
        fingerprint: tells the input that the key was used with.
        scope: the conversation it is a turn of, ``conv-…`` or ``agent-…``; ``None`` for a completion.
        headers: of its upstream, to pass on at the OpenAI door, once that has opened.
        opened: done when the upstream has opened; has the refusal of one that would not.
        kept: whether it can be read again after its end.
        cancelled: whether it was told to end before its time.
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
    kept: bool = True
    cancelled: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    log: StreamLog = field(default_factory=StreamLog)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    expires_at: datetime | None = None
    readers: int = 0
    was_read: bool = False
    opened: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    pump: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None

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

    @property
    def user_message(self) -> MessageRecord | None:
        """What was sent to begin it; once Letta has stored that, as it is stored.

        ``None`` before the upstream has begun, and where nothing was sent that is a message: in a completion, after a
        decision, in a turn begun elsewhere.
        """
        first = self.log.entries[0].event if self.log.entries else None
        sent = first.user_message if isinstance(first, Started) else None
        if sent is None:
            return None
        added = (entry.event.message for entry in self.log.entries if type(entry.event) is MessageAdded)
        return next((message for message in added if is_sent(message) and message.otid == sent.otid), sent)

    @property
    def text(self) -> str:
        """The answer so far, up to ``last_cursor``: read together, in one step, they are one snapshot."""
        return "".join(entry.event.text for entry in self.log.entries if type(entry.event) is TextDelta)

    @property
    def last_cursor(self) -> str:
        """The cursor of the newest event."""
        return str(len(self.log.entries))

    def stop_timer(self) -> None:
        """Whatever was to come is not to come."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
