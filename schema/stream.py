"""The GraphQL types for streams and their events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import strawberry
from strawberry import ID, Parent
from strawberry.types.field import StrawberryField

from clients.letta.messages import MessageRecord
from clients.owned import ConversationRef
from clients.usage import Usage as UsageRecord
from resolvers import conversations, turns
from resolvers.info import Info
from resolvers.messages import message_edge
from resolvers.owned import OwnedConversation, OwnedRun
from resolvers.paging import Edge
from resolvers.sources.turn_events import ApprovalRequested as ApprovalRequestedEvent
from resolvers.sources.turn_events import MessageAdded as MessageAddedEvent
from resolvers.sources.turn_events import TurnStarted, sent_message, user_message
from resolvers.streams import events
from resolvers.streams.stream import Stream as StreamRecord
from schema import named
from schema.base import OfClass, answered_by, derived, described, object_type, shows
from schema.costs import calls
from schema.message import MessageEdge
from schema.node import Node
from schema.run import Run, RunEdge, run_of
from schema.stream_enums import DetachReason, ErrorCode, FinishReason, StreamOutcome, StreamStatus

if TYPE_CHECKING:
    from schema.conversation import Conversation

T = TypeVar("T", bound=type)

_RUN = "The stream's run. Null for a completion."
_MESSAGE_ID = "The id of the message that contains the text. Null in a completion."
_APPEND = "The next piece of a text. Append it to the pieces of earlier events with the same type and `messageId`."


async def _text(stream: Parent[StreamRecord]) -> str:
    await stream.log.filled()
    return stream.text


async def _last_cursor(stream: Parent[StreamRecord]) -> str:
    await stream.log.filled()
    return stream.last_cursor


async def _user_message_edge(stream: Parent[StreamRecord]) -> Edge[MessageRecord] | None:
    message = await user_message(stream)
    return None if message is None else message_edge(message)


@shows(
    "The events of one answer by an agent or model. Clients can read the stream until `expiresAt`.",
    StreamRecord,
)
class Stream(Node):
    status: StreamStatus = described("The stream's status.")
    started_at: datetime = described("When the stream started.")
    expires_at: datetime | None = described("When the stream expires. Null while the stream runs.")
    run: Run | None = answered_by(run_of, _RUN, optional=True, costs=[calls()], held=named.RUN)
    user_message_edge: MessageEdge | None = derived(
        _user_message_edge,
        "The message that started the turn, as an edge. If `messages` does not contain the message, clients can add "
        "the edge. Null for a completion, or if the turn was not started through this gateway.",
    )
    text: str = derived(
        _text,
        "The answer's text so far, up to the event with the cursor `lastCursor`. To continue, subscribe to `stream` "
        "with `after: lastCursor`.",
    )
    last_cursor: str = derived(_last_cursor, "The cursor of the last event that `text` includes.")


@shows("Token counts and cost.", UsageRecord)
class Usage:
    prompt_tokens: int | None = described("Number of input tokens.")
    completion_tokens: int | None = described("Number of output tokens.")
    total_tokens: int | None = described("Number of input and output tokens.")
    reasoning_tokens: int | None = described("Number of output tokens used for reasoning.")
    cached_prompt_tokens: int | None = described("Number of input tokens read from the prompt cache.")
    cost_usd: Decimal | None = described("Cost in US dollars. Null if unknown.")


@shows("The error that ended a stream.", events.StreamFailure)
class StreamFailure:
    code: ErrorCode = described("The error code, as in a GraphQL error's `extensions.code`.")
    reason: str | None = described("The detailed reason, as in a GraphQL error's `extensions.reason`.")
    message: str = described("An explanation that can be shown to the user.")
    retryable: bool = described(
        "Whether a retry can succeed. If the connection to a service broke, a retry with the same idempotency key or "
        "stream key continues the turn. If Letta or the model failed, retry with a new key."
    )
    retry_after_seconds: float | None = described(
        "Seconds to wait before a retry, as in a GraphQL error's `extensions.retryAfterSeconds`."
    )


class EventField(StrawberryField):
    """A GraphQL field whose value is an attribute of the delivered event."""

    def get_result(self, source: events.Delivery[events.Event], *_: object, **__: object) -> object:
        """Return the event's attribute with the field's name."""
        return getattr(source.event, self.python_name)


def _of_event(description: str) -> Any:
    """Declare a GraphQL field whose value is an attribute of the delivered event."""
    return EventField(description=description)


def _delivers(*events: type[events.Event]) -> Callable[[T], T]:
    """Return a class decorator that sets which event classes a GraphQL type represents."""

    def bind(cls: T) -> T:
        cls.records = events  # type: ignore[attr-defined]
        cls.is_type_of = OfClass(events, "event")  # type: ignore[attr-defined]
        return cls

    return bind


async def _event_run(
    delivery: Parent[events.Delivery[events.Started | ApprovalRequestedEvent | events.Ended]], info: Info
) -> OwnedRun | None:
    return await turns.run_of(info.context, delivery.event.run_id)


@strawberry.interface(description="An event of a stream.")
class StreamEvent:
    cursor: str = described(
        "The event's position in the stream. To resume without gaps or duplicates, subscribe with this cursor as "
        "`after`."
    )


def _stream(delivery: Parent[events.Delivery[events.Started]], info: Info) -> StreamRecord:
    context = info.context
    return context.resources.streams.held(delivery.stream_id, context.owner)


async def _started_run_edge(delivery: Parent[events.Delivery[events.Started]], info: Info) -> Edge[OwnedRun] | None:
    return await turns.run_edge_of(info.context, delivery.event.run_id)


def _sent_message_edge(delivery: Parent[events.Delivery[events.Started]]) -> Edge[MessageRecord] | None:
    sent = sent_message(delivery.event)
    return None if sent is None else message_edge(sent)


@object_type("The first event of every stream.")
@_delivers(events.Started, TurnStarted)
class StreamStarted(StreamEvent):
    stream: Stream = derived(_stream, "The stream that has started.")
    run: Run | None = answered_by(_event_run, _RUN, optional=True, costs=[calls()], held=named.EVENTS_RUN)
    run_edge: RunEdge | None = answered_by(
        _started_run_edge,
        "The run as an edge. If `runs` does not contain the run, clients can add the edge at the start. Null for a "
        "completion.",
        optional=True,
        costs=[calls()],
    )
    user_message_edge: MessageEdge | None = derived(
        _sent_message_edge, "The message that started the turn. Null for a completion."
    )
    resumable: bool = _of_event("Whether clients can resume the answer after this gateway process has stopped.")
    replayed: bool = described(
        "Whether the client may have received the following events before. If true, discard all text of the answer "
        "that the client received before this event."
    )


@object_type("A piece of the answer's text.")
@_delivers(events.TextDelta)
class TextDelta(StreamEvent):
    message_id: ID | None = _of_event(_MESSAGE_ID)
    text: str = _of_event(_APPEND)


@object_type("A piece of the model's reasoning.")
@_delivers(events.ReasoningDelta)
class ReasoningDelta(StreamEvent):
    message_id: ID | None = _of_event(_MESSAGE_ID)
    text: str = _of_event(_APPEND)


@object_type("A piece of a tool call that the model requests.")
@_delivers(events.ToolCallDelta)
class ToolCallDelta(StreamEvent):
    message_id: ID | None = _of_event("The id of the message that contains the tool call. Null in a completion.")
    index: int = _of_event(
        "The position of the tool call in the answer. Deltas with the same index belong to the same call."
    )
    tool_call_id: ID | None = _of_event("The call's id. Only one delta of each call has the id, usually the first.")
    name: str | None = _of_event("The tool's name. Only one delta of each call has the name, usually the first.")
    arguments_delta: str = _of_event("JSON text to append to the call's arguments.")


def _edge(delivery: Parent[events.Delivery[MessageAddedEvent]]) -> Edge[MessageRecord]:
    return message_edge(delivery.event.message)


@object_type("A message in the answer is complete and has its final id.")
@_delivers(MessageAddedEvent)
class MessageAdded(StreamEvent):
    edge: MessageEdge = derived(_edge, "The message as an edge of `messages`.")


@object_type("The turn waits for the user's decision on tool calls. Answer with `respondToApproval`.")
@_delivers(ApprovalRequestedEvent)
class ApprovalRequested(StreamEvent):
    edge: MessageEdge = derived(_edge, "The `ApprovalRequestMessage` as an edge of `messages`.")
    run: Run | None = answered_by(
        _event_run, "The run that waits for the decision.", costs=[calls()], held=named.EVENTS_RUN
    )


async def _ended_conversation(delivery: Parent[events.Delivery[events.Ended]], info: Info) -> OwnedConversation | None:
    conversation = delivery.event.conversation
    if not isinstance(conversation, ConversationRef):
        return None
    return await conversations.by_ref_or_none(info.context, conversation)


@object_type("The last event of every stream, sent exactly once.")
@_delivers(events.Ended)
class StreamEnded(StreamEvent):
    outcome: StreamOutcome = _of_event("How the stream ended.")
    finish_reason: FinishReason | None = _of_event(
        "Why the model or the turn stopped, such as `STOP`, `END_TURN` or `REQUIRES_APPROVAL`."
    )
    usage: Usage | None = _of_event("The answer's token counts and cost. Unknown values are null.")
    error: StreamFailure | None = _of_event("The error, if `outcome` is `FAILED`.")
    run: Run | None = answered_by(_event_run, _RUN, optional=True, costs=[calls()], held=named.EVENTS_RUN)
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _ended_conversation,
        "The conversation after the turn. Null for a completion, or if the conversation was deleted.",
        optional=True,
        costs=[calls()],
    )


@object_type(
    "The gateway ended this subscription, and the stream continues. Subscribe again with this event's "
    "`cursor` as `after`."
)
@_delivers(events.Detached)
class ReaderDetached(StreamEvent):
    reason: DetachReason = _of_event("Why the gateway ended the subscription.")
