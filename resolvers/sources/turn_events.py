"""The events that only turns have."""

from __future__ import annotations

from clients.letta.messages import MessageRecord
from resolvers.streams.events import Event, Started
from resolvers.streams.stream import Stream


class TurnStarted(Started, frozen=True, kw_only=True):
    """The first event of a turn. ``user_message`` is the sent message; ``None`` for a decision."""

    user_message: MessageRecord | None = None

    @property
    def size(self) -> int:
        """The bytes of the message that was sent."""
        return 0 if self.user_message is None else self.user_message.weight


class MessageAdded(Event, frozen=True, kw_only=True):
    """A message is complete and has its final id."""

    message: MessageRecord

    @property
    def size(self) -> int:
        """The bytes of the message."""
        return self.message.weight


class ApprovalRequested(MessageAdded, frozen=True, kw_only=True):
    """The turn waits for the user's decision on tool calls."""

    run_id: str | None = None


def sent_message(started: Started | None) -> MessageRecord | None:
    """Return the message that started a turn, if any."""
    return started.user_message if isinstance(started, TurnStarted) else None


async def user_message(stream: Stream) -> MessageRecord | None:
    """Return the message that started a stream's turn, as stored if Letta has stored it.

    ``None`` before the upstream has begun, for a completion, after a decision, and for a turn of another gateway.
    """
    sent = sent_message(stream.log.started)
    if sent is None:
        return None
    added = (event.message for event in await stream.log.whole_events() if isinstance(event, MessageAdded))
    return next((message for message in added if message.is_known_by_otid and message.otid == sent.otid), sent)
