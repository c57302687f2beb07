"""Streams and their events."""

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
from schema.base import answered_by, derived, described, reads
from schema.costs import calls
from schema.message import MessageEdge
from schema.node import Node
from schema.run import Run, RunEdge
from schema.stream_enums import DetachReason, ErrorCode, FinishReason, StreamOutcome, StreamStatus

if TYPE_CHECKING:
    from schema.conversation import Conversation

T = TypeVar("T", bound=type)


async def _run(stream: Parent[StreamRecord], info: Info) -> OwnedRun | None:
    return await turns.run_of(info.context, stream.run_id)


async def _user_message_edge(stream: Parent[StreamRecord]) -> Edge[MessageRecord] | None:
    message = await user_message(stream)
    return None if message is None else message_edge(message)


@strawberry.type(description="The events of one answer. A stream can be replayed while it runs and until `expiresAt`.")
@reads(StreamRecord)
class Stream(Node):
    status: StreamStatus = described("The stream's status.")
    started_at: datetime = described("When the stream started.")
    expires_at: datetime | None = described("When the stream expires. Null while it runs.")
    run: Run | None = answered_by(_run, "The stream's run. Null for a completion.", optional=True, costs=[calls()])
    user_message_edge: MessageEdge | None = derived(
        _user_message_edge,
        "The message that started the turn, for appending to `messages` if it is not there. Null for a completion, "
        "and for a turn that was not started through this gateway.",
    )
    text: str = described(
        "The text of the answer so far, up to `lastCursor`: show it, then subscribe with `after: lastCursor`."
    )
    last_cursor: str = described("The cursor of the last event that `text` includes.")


@strawberry.type(description="Token counts and cost.")
@reads(UsageRecord)
class Usage:
    prompt_tokens: int | None = described("Number of input tokens.")
    completion_tokens: int | None = described("Number of output tokens.")
    total_tokens: int | None = described("Number of input and output tokens.")
    reasoning_tokens: int | None = described("Number of output tokens used for reasoning.")
    cached_prompt_tokens: int | None = described("Number of input tokens read from the prompt cache.")
    cost_usd: Decimal | None = described("Cost in US dollars. Null if unknown.")


@strawberry.type(description="The error that ended a stream.")
@reads(events.StreamFailure)
class StreamFailure:
    code: ErrorCode = described("The error code, as in `extensions.code`.")
    reason: str | None = described("The detailed reason, as in `extensions.reason`.")
    message: str = described("An explanation that can be shown to the user.")
    retryable: bool = described(
        "Whether a retry can succeed. The same key resumes a turn whose stream broke off. After a failure of Letta or "
        "the model, use a new key."
    )
    retry_after_seconds: float | None = described(
        "Seconds to wait before a retry, as in `extensions.retryAfterSeconds`."
    )


class EventField(StrawberryField):
    """A field that is an attribute of a delivery's event."""

    def get_result(self, source: events.Delivery[events.Event], *_: object, **__: object) -> object:
        """Read it."""
        return getattr(source.event, self.python_name)


def _of_event(description: str) -> Any:
    """A field that is an attribute of a delivery's event; see ``described``."""
    return EventField(description=description)


def _delivers(*events: type[events.Event]) -> Callable[[T], T]:
    """Class decorator, as ``reads``: the type shows deliveries of exactly these events."""

    def bind(cls: T) -> T:
        cls.records = events  # type: ignore[attr-defined]
        cls.is_type_of = staticmethod(lambda delivery, _info: type(delivery.event) in events)  # type: ignore[attr-defined]
        return cls

    return bind


async def _event_run(
    delivery: Parent[events.Delivery[events.Started | ApprovalRequestedEvent | events.Ended]], info: Info
) -> OwnedRun | None:
    return await turns.run_of(info.context, delivery.event.run_id)


@strawberry.interface(description="An event of a stream.")
class StreamEvent:
    cursor: str = described(
        "The event's position in the stream. Subscribe with it as `after` to resume without gaps or duplicates."
    )


def _stream(delivery: Parent[events.Delivery[events.Started]], info: Info) -> StreamRecord:
    context = info.context
    return context.resources.streams.get(delivery.stream_id, context.owner)


async def _started_run_edge(delivery: Parent[events.Delivery[events.Started]], info: Info) -> Edge[OwnedRun] | None:
    return await turns.run_edge_of(info.context, delivery.event.run_id)


def _sent_message_edge(delivery: Parent[events.Delivery[events.Started]]) -> Edge[MessageRecord] | None:
    sent = sent_message(delivery.event)
    return None if sent is None else message_edge(sent)


@strawberry.type(description="The first event of every stream.")
@_delivers(events.Started, TurnStarted)
class StreamStarted(StreamEvent):
    stream: Stream = derived(_stream, "The stream that has started.")
    run: Run | None = answered_by(
        _event_run, "The stream's run. Null for a completion.", optional=True, costs=[calls()]
    )
    run_edge: RunEdge | None = answered_by(
        _started_run_edge,
        "The run as an edge, for prepending to `runs` if it is not there. Null for a completion.",
        optional=True,
        costs=[calls()],
    )
    user_message_edge: MessageEdge | None = derived(
        _sent_message_edge, "The message that started the turn. Null for a completion."
    )
    resumable: bool = _of_event("Whether the answer can be resumed if this gateway process stops.")
    replayed: bool = described(
        "Whether the following events may have been sent before. If true, discard the text received so far."
    )


@strawberry.type(description="A piece of the answer's text.")
@_delivers(events.TextDelta)
class TextDelta(StreamEvent):
    message_id: ID | None = _of_event("The id of the message that the text belongs to. Null in a completion.")
    text: str = _of_event("Text to append.")


@strawberry.type(description="A piece of the model's reasoning.")
@_delivers(events.ReasoningDelta)
class ReasoningDelta(StreamEvent):
    message_id: ID | None = _of_event("The id of the message that the text belongs to. Null in a completion.")
    text: str = _of_event("Text to append.")


@strawberry.type(description="A piece of a tool call.")
@_delivers(events.ToolCallDelta)
class ToolCallDelta(StreamEvent):
    message_id: ID | None = _of_event("The id of the message that the call belongs to. Null in a completion.")
    index: int = _of_event(
        "Identifies one of several parallel calls: deltas with the same index belong to the same call."
    )
    tool_call_id: ID | None = _of_event("The call's id. Sent once per call, usually in its first delta.")
    name: str | None = _of_event("The tool's name. Sent once per call, usually in its first delta.")
    arguments_delta: str = _of_event("JSON text to append to the call's arguments.")


def _edge(delivery: Parent[events.Delivery[MessageAddedEvent]]) -> Edge[MessageRecord]:
    return message_edge(delivery.event.message)


@strawberry.type(description="A message is complete and has its final id.")
@_delivers(MessageAddedEvent)
class MessageAdded(StreamEvent):
    edge: MessageEdge = derived(_edge, "The message as an edge of `messages`.")


@strawberry.type(description="The turn waits for a decision on tool calls. Answer with `respondToApproval`.")
@_delivers(ApprovalRequestedEvent)
class ApprovalRequested(StreamEvent):
    edge: MessageEdge = derived(_edge, "The `ApprovalRequestMessage` as an edge of `messages`.")
    run: Run | None = answered_by(_event_run, "The run that waits.", costs=[calls()])


async def _ended_conversation(delivery: Parent[events.Delivery[events.Ended]], info: Info) -> OwnedConversation | None:
    conversation = delivery.event.conversation
    if not isinstance(conversation, ConversationRef):
        return None
    return await conversations.by_ref_if_kept(info.context, conversation)


@strawberry.type(description="The last event of every stream. It is sent exactly once.")
@_delivers(events.Ended)
class StreamEnded(StreamEvent):
    outcome: StreamOutcome = _of_event("How the stream ended.")
    finish_reason: FinishReason | None = _of_event(
        "Why the model or the turn stopped, such as `STOP`, `END_TURN` or `REQUIRES_APPROVAL`."
    )
    usage: Usage | None = _of_event("Token counts and cost, as far as known.")
    error: StreamFailure | None = _of_event("The error, if `outcome` is `FAILED`.")
    run: Run | None = answered_by(
        _event_run, "The stream's run. Null for a completion.", optional=True, costs=[calls()]
    )
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _ended_conversation,
        "The conversation after the turn. Null for a completion, and if the conversation was deleted.",
        optional=True,
        costs=[calls()],
    )


@strawberry.type(
    description="The gateway detached this reader; the stream continues. Subscribe again with this cursor as `after`."
)
@_delivers(events.Detached)
class ReaderDetached(StreamEvent):
    reason: DetachReason = _of_event("Why the reader was detached.")


KINDS = [
    StreamStarted,
    TextDelta,
    ReasoningDelta,
    ToolCallDelta,
    MessageAdded,
    ApprovalRequested,
    StreamEnded,
    ReaderDetached,
]
