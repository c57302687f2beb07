"""Streams and what they say."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import ID, Parent

from clients.codes import ErrorCode
from clients.letta.messages import MessageRecord
from clients.letta.records import ConversationRecord, RunRecord
from clients.usage import Usage as UsageRecord
from resolvers import conversations, turns
from resolvers.access import default_conversation
from resolvers.info import Info
from resolvers.messages import message_edge
from resolvers.paging import Edge
from resolvers.streams import events
from resolvers.streams.events import DetachReason, FinishReason, OnDisconnect, StreamOutcome, StreamStatus
from resolvers.streams.stream import Stream as StreamRecord
from schema.base import answered_by, derived, described, enum, reads
from schema.costs import calls
from schema.message import MessageEdge
from schema.node import Node
from schema.run import Run, RunEdge

if TYPE_CHECKING:
    from schema.conversation import Conversation

enum(
    ErrorCode,
    "The values of `extensions.code`: a small, closed set.",
    UNAUTHENTICATED="Your token is missing, wrong or expired: sign in again.",
    FORBIDDEN="Your role or key does not allow it.",
    NOT_FOUND="It does not exist, or is not yours.",
    BAD_USER_INPUT="Change what you sent; `reason` says what is wrong with it.",
    CONFLICT="The right request at the wrong moment; `reason` says why.",
    RATE_LIMITED="You have asked too often, or have too much under way: wait `retryAfterSeconds`.",
    BUDGET_EXCEEDED="The budget that pays for your model calls is spent.",
    QUERY_TOO_COMPLEX="Ask for less at once.",
    GRAPHQL_PARSE_FAILED="The document is no GraphQL.",
    GRAPHQL_VALIDATION_FAILED="The document does not fit the schema.",
    OPERATION_RESOLUTION_FAILURE="Say which operation of the document, by `operationName`.",
    PERSISTED_QUERY_NOT_FOUND="The gateway does not know this hash: send the document itself.",
    PERSISTED_QUERY_NOT_SUPPORTED="The gateway keeps no documents by their hashes: send documents, and no more hashes.",
    PAYLOAD_TOO_LARGE="Send less.",
    UPSTREAM_UNAVAILABLE="A service behind the gateway could not be asked; nothing was sent: try again.",
    UPSTREAM_TIMEOUT="A service behind the gateway did not answer in time: try again, with the same key.",
    UPSTREAM_ERROR="A service behind the gateway answered badly: try again where `retryable` says so.",
    OVERLOADED="The gateway is full: try again.",
    INTERNAL_ERROR="The gateway's fault: report the `requestId`.",
)
enum(
    StreamStatus,
    "Where a stream stands.",
    RUNNING="More is to come.",
    COMPLETED="The answer is whole, or waits for a decision on tool calls.",
    FAILED="It has broken off: its `StreamEnded` says why.",
    CANCELLED="It was stopped.",
)
enum(
    StreamOutcome,
    "How a stream ended.",
    COMPLETED="The answer is whole, or waits for a decision on tool calls: see `finishReason`.",
    FAILED="It broke off: see `error`.",
    CANCELLED="It was stopped.",
)
enum(
    FinishReason,
    "Why a model stopped.",
    STOP="It has said all, or come to one of `stop`.",
    LENGTH="`maxTokens`, or the model's own limit, is reached.",
    TOOL_CALLS="It calls tools.",
    FUNCTION_CALL="It calls a function, by OpenAI's old form.",
    CONTENT_FILTER="Its provider held back what it said.",
    END_TURN="The agent has ended its turn.",
    REQUIRES_APPROVAL="The turn waits for your decision on tool calls: `respondToApproval`.",
    CANCELLED="The run was stopped.",
    MAX_STEPS="The turn has taken as many steps as it may.",
    MAX_TOKENS_EXCEEDED="The model's limit of tokens is passed.",
    TOOL_RULE="A rule of the agent's ends the turn after this tool.",
    NO_TOOL_CALL="The model called no tool where it had to.",
    INVALID_TOOL_CALL="The model called a tool wrongly.",
    INVALID_LLM_RESPONSE="The model's answer could not be read.",
    LLM_API_ERROR="The model's provider failed.",
    CONTEXT_WINDOW_OVERFLOW_IN_SYSTEM_PROMPT="The agent's own instructions are longer than the model's context.",
    INSUFFICIENT_CREDITS="The agent's model is not paid for any more.",
    ERROR="The turn failed.",
    UNKNOWN="For a reason this gateway does not know.",
)
enum(
    DetachReason,
    "Why a reader was let go while the stream goes on.",
    SLOW="You read too slowly: subscribe again.",
    DRAINING="This gateway is going down: connect and subscribe again.",
    SIGNED_OUT="Your token has expired: sign in again.",
)
enum(
    OnDisconnect,
    "What happens upstream when the last reader leaves.",
    CANCEL="The stream is stopped, and with it the model of a completion. A run goes on.",
    CONTINUE="The stream goes on to its end, and can be read again.",
)


async def _run(record: Parent[Any], info: Info) -> RunRecord | None:
    return await turns.run_of(info.context, record.run_id)


async def _run_edge(record: Parent[events.Started], info: Info) -> Edge[RunRecord] | None:
    return await turns.run_edge_of(info.context, record.run_id)


def _user_message_edge(record: Parent[StreamRecord | events.Started]) -> Edge[MessageRecord] | None:
    return None if record.user_message is None else message_edge(record.user_message)


@strawberry.type(description="An answer as it comes, and for a while afterwards.")
@reads(StreamRecord)
class Stream(Node):
    """The GraphQL face of the kernel's Stream."""

    status: StreamStatus = described("Where it stands.")
    started_at: datetime = described("When it was started.")
    expires_at: datetime | None = described("Until when it can be read again; null while it runs.")
    run: Run | None = answered_by(_run, "The run behind it; null for a completion.", optional=True, costs=[calls()])
    user_message_edge: MessageEdge | None = derived(
        _user_message_edge,
        "What you sent; null for a completion, and where nothing was sent from here. Put it at the end of `messages` "
        "unless it is there.",
    )
    text: str = described("The answer so far. One snapshot with `lastCursor`: show it, then subscribe `after` that.")
    last_cursor: str = described("The cursor of the newest event in `text`.")


@strawberry.type(description="Tokens, and what they cost.")
@reads(UsageRecord)
class Usage:
    """The GraphQL face of Usage."""

    prompt_tokens: int | None = described("Tokens that went in.")
    completion_tokens: int | None = described("Tokens that came out.")
    total_tokens: int | None = described("Both together.")
    reasoning_tokens: int | None = described("Those of the tokens that came out which were thoughts.")
    cached_prompt_tokens: int | None = described("Those of the tokens that went in which were cached.")
    cost_usd: Decimal | None = described("The cost in US dollars, where it is known.")


@strawberry.type(description="Why a stream failed.")
@reads(events.StreamFailure)
class StreamFailure:
    """The GraphQL face of StreamFailure."""

    code: ErrorCode = described("As `extensions.code` of an error.")
    reason: str | None = described("As `extensions.reason` of an error.")
    message: str = described("A sentence for people.")
    retryable: bool = described(
        "Whether asking again can help. The same key takes up a turn whose stream broke off; what Letta or the model "
        "has failed needs a new key."
    )
    retry_after_seconds: float | None = described("As `extensions.retryAfterSeconds` of an error.")


@strawberry.interface(description="Something a stream says.")
class StreamEvent:
    """What every event has."""

    cursor: str = described("Its place in the stream: subscribe `after` it and nothing is lost or doubled.")


def _stream(record: Parent[events.Started], info: Info) -> StreamRecord:
    context = info.context
    return context.resources.streams.get(record.stream_id, context.principal.user_id)


@strawberry.type(description="The first event of every stream.")
@reads(events.Started)
class StreamStarted(StreamEvent):
    """The GraphQL face of Started."""

    stream: Stream = derived(_stream, "The stream.")
    run: Run | None = answered_by(_run, "The run behind it; null for a completion.", optional=True, costs=[calls()])
    run_edge: RunEdge | None = answered_by(
        _run_edge, "The same, for the front of `runs` unless it is there.", optional=True, costs=[calls()]
    )
    user_message_edge: MessageEdge | None = derived(_user_message_edge, "What you sent; null for a completion.")
    resumable: bool = described("Whether the upstream can be taken up again if this gateway goes down.")
    replayed: bool = described("Whether what follows has been said before: clear what you had.")


@strawberry.type(description="More of the answer.")
@reads(events.TextDelta)
class TextDelta(StreamEvent):
    """The GraphQL face of the event of that name."""

    message_id: ID | None = described("The message it belongs to; null in a completion.")
    text: str = described("What to append.")


@strawberry.type(description="More of what the model thinks.")
@reads(events.ReasoningDelta)
class ReasoningDelta(StreamEvent):
    """The GraphQL face of the event of that name."""

    message_id: ID | None = described("The message it belongs to; null in a completion.")
    text: str = described("What to append.")


@strawberry.type(description="More of a tool call.")
@reads(events.ToolCallDelta)
class ToolCallDelta(StreamEvent):
    """The GraphQL face of the event of that name."""

    message_id: ID | None = described("The message it belongs to; null in a completion.")
    index: int = described("Which of the calls that are made at once: pieces with the same index are of one call.")
    tool_call_id: ID | None = described(
        "The call's id, which ties its return to it; once, mostly with its first piece."
    )
    name: str | None = described("The tool's name; once, mostly with the call's first piece.")
    arguments_delta: str = described("What to append to the arguments' JSON text.")


def _edge(record: Parent[events.MessageAdded]) -> Edge[MessageRecord]:
    return message_edge(record.message)


@strawberry.type(description="A message stands: whole, with its final id.")
@reads(events.MessageAdded)
class MessageAdded(StreamEvent):
    """The GraphQL face of the event of that name."""

    edge: MessageEdge = derived(_edge, "The message in its place.")


@strawberry.type(description="The turn waits for your decision on tool calls.")
@reads(events.ApprovalRequested)
class ApprovalRequested(StreamEvent):
    """The GraphQL face of the event of that name."""

    edge: MessageEdge = derived(_edge, "The request in its place.")
    run: Run | None = answered_by(_run, "The run that waits.", costs=[calls()])


async def _ended_conversation(record: Parent[events.Ended], info: Info) -> ConversationRecord | None:
    if record.scope is None:
        return None
    if record.scope.startswith("agent-"):
        return default_conversation(record.scope)
    return await conversations.still_there(info.context, record.scope)


@strawberry.type(description="The end: once, and nothing after it.")
@reads(events.Ended)
class StreamEnded(StreamEvent):
    """The GraphQL face of Ended."""

    outcome: StreamOutcome = described("How it ended.")
    finish_reason: FinishReason | None = described(
        "Why the model stopped, such as `STOP`, `END_TURN` or `REQUIRES_APPROVAL`."
    )
    usage: Usage | None = described("Tokens and cost, as far as known.")
    error: StreamFailure | None = described("Why it failed.")
    run: Run | None = answered_by(_run, "The run behind it; null for a completion.", optional=True, costs=[calls()])
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _ended_conversation,
        "The conversation as it is now; null for a completion, and where it has been deleted.",
        optional=True,
        costs=[calls()],
    )


@strawberry.type(description="This reader is let go; the stream goes on. Subscribe again `after` the cursor.")
@reads(events.Detached)
class ReaderDetached(StreamEvent):
    """The GraphQL face of Detached."""

    reason: DetachReason = described("Why.")


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
