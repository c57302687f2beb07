"""The events that only turns have."""

from clients.letta.messages import (
    ApprovalRequestMessage,
    AssistantMessage,
    MessageRecord,
    ReasoningMessage,
    ToolCallMessage,
)
from resolvers.messages import message_node_id
from resolvers.streams.events import Event, ReasoningDelta, Started, TextDelta, ToolCallDelta
from resolvers.streams.stream import Stream


class TurnStarted(Started, frozen=True, kw_only=True):
    """The first event of a turn. ``user_message`` is ``None`` if the user sent an approval decision."""

    user_message: MessageRecord | None = None

    @property
    def size(self) -> int:
        """The message's size, in bytes."""
        return 0 if self.user_message is None else self.user_message.weight


class MessageAdded(Event, frozen=True, kw_only=True):
    """The event for a complete message with its final id."""

    message: MessageRecord

    @property
    def size(self) -> int:
        """The message's size, in bytes."""
        return self.message.weight


class ApprovalRequested(MessageAdded, frozen=True, kw_only=True):
    """The event for a turn that waits for the user's decision on tool calls."""

    run_id: str | None = None


def sent_message(started: Started | None) -> MessageRecord | None:
    """Return the user message that started a turn. If a decision started the turn, return ``None``."""
    return started.user_message if isinstance(started, TurnStarted) else None


async def user_message(stream: Stream) -> MessageRecord | None:
    """Return the user message that started a stream's turn. If Letta has stored the message, return Letta's copy."""
    await stream.log.filled()
    sent = sent_message(stream.log.started)
    if sent is None:
        return None
    added = (event.message for event in await stream.log.whole_events() if isinstance(event, MessageAdded))
    return next((message for message in added if message.is_known_by_otid and message.otid == sent.otid), sent)


def deltas_of(message: MessageRecord) -> list[Event]:
    """Return the deltas in a frame of Letta's."""
    node_id = message_node_id(message)
    match message:
        case AssistantMessage() if message.text:
            return [TextDelta(message_id=node_id, text=message.text)]
        case ReasoningMessage() if message.text:
            return [ReasoningDelta(message_id=node_id, text=message.text)]
        case ToolCallMessage() | ApprovalRequestMessage():
            return [
                ToolCallDelta(
                    message_id=node_id,
                    index=index,
                    tool_call_id=call.tool_call_id,
                    name=call.name,
                    arguments_delta=call.arguments or "",
                )
                for index, call in enumerate(message.tool_calls)
            ]
        case _:
            return []
