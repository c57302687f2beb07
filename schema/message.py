"""Messages: an interface, and one type per kind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import ID, Parent
from strawberry.scalars import JSON

from clients.letta import messages as records
from clients.letta import tools
from clients.letta.content import MessageImage as ImageRecord
from clients.letta.messages import MessageRole
from clients.letta.records import StepRecord
from resolvers import conversations, runs, turns
from resolvers.info import Info
from resolvers.owned import OwnedConversation, OwnedRun
from schema.base import answered_by, described, entity, enum, reads
from schema.connections import TwoWayConnection, TwoWayEdge
from schema.costs import assumed, calls
from schema.node import Node

if TYPE_CHECKING:
    from schema.conversation import Conversation
    from schema.run import Run, Step

_FIRST_RETURN = "The first return alone: read `toolReturns`."

enum(
    tools.ToolReturnStatus,
    "How a tool's call went.",
    SUCCESS="The tool gave something back.",
    ERROR="The tool failed; what came back says how.",
    UNKNOWN="In a way this gateway does not know.",
)
enum(
    MessageRole,
    "Who speaks in a message.",
    USER="You, or another person.",
    ASSISTANT="The agent.",
    SYSTEM="The platform.",
    TOOL="A tool that was called.",
    UNKNOWN="Somebody this gateway does not know.",
)


async def _conversation(record: Parent[records.MessageRecord], info: Info) -> OwnedConversation:
    return await conversations.by_ref(info.context, record.conversation)


async def _run(record: Parent[records.MessageRecord], info: Info) -> OwnedRun | None:
    return await turns.run_of(info.context, record.run_id)


async def _step(record: Parent[records.MessageRecord], info: Info) -> StepRecord | None:
    return await runs.step_of(info.context, record.step_id)


@strawberry.interface(description="Something that was said, thought or done in a conversation.")
class Message(Node):
    """What every message has."""

    role: MessageRole = described("Who speaks.")
    text: str | None = described("Its words, where it has any.")
    created_at: datetime | None = described("When it was stored; null in a stream, before it has been.")
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversation, "The conversation it stands in.", costs=[calls()]
    )
    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        _run, "The run it belongs to.", optional=True, costs=[calls()]
    )
    step: Annotated[Step, strawberry.lazy("schema.run")] | None = answered_by(
        _step, "The call of the model that it came with; null where Letta keeps none.", optional=True, costs=[calls()]
    )


@strawberry.type(description="One call that the model asks for.")
@reads(tools.ToolCall)
class ToolCall:
    """The GraphQL face of ToolCall."""

    tool_call_id: ID | None = described("The call's id, which ties its return to it.")
    name: str | None = described("The tool's name.")
    arguments: str | None = described("JSON text as the model wrote it, valid or not.")


@strawberry.type(description="What one call of a tool gave back.")
@reads(tools.ToolReturn)
class ToolReturn:
    """The GraphQL face of ToolReturn."""

    tool_call_id: ID | None = described("The call it answers.")
    status: tools.ToolReturnStatus | None = described("How it went.")
    text: str | None = described("What came back.")


@strawberry.type(description="An image in a message.")
@reads(ImageRecord)
class MessageImage:
    """The GraphQL face of the record of that name."""

    url: str | None = described("Where it can be seen: a data URL once it has been stored, its address before.")
    media_type: str | None = described("Its kind, such as `image/png`, where that is known.")


@entity(description="What you said.")
@reads(records.UserMessage)
class UserMessage(Message):
    """The GraphQL face of the record of that name."""

    images: list[MessageImage] = described("The images that you sent along.", costs=[assumed(3)])


@entity(description="What the agent said.")
@reads(records.AssistantMessage)
class AssistantMessage(Message):
    """The GraphQL face of the record of that name."""


@entity(description="What the model thought before it spoke; without text where its provider keeps that to itself.")
@reads(records.ReasoningMessage)
class ReasoningMessage(Message):
    """The GraphQL face of the record of that name."""


@entity(description="Instructions to the agent, and notices such as a compaction of its context.")
@reads(records.SystemMessage)
class SystemMessage(Message):
    """The GraphQL face of the record of that name."""


@entity(description="The agent calls tools.")
@reads(records.ToolCallMessage)
class ToolCallMessage(Message):
    """The GraphQL face of the record of that name."""

    tool_calls: list[ToolCall] = described("The calls.", costs=[assumed(3)])


@entity(description="What tools gave back. Its own fields are those of the first return.")
@reads(records.ToolReturnMessage)
class ToolReturnMessage(Message):
    """The GraphQL face of the record of that name."""

    name: str | None = described("The tool's name.")
    tool_call_id: str | None = strawberry.field(description="The call it answers.", deprecation_reason=_FIRST_RETURN)
    status: str | None = strawberry.field(
        description="`success` or `error`, as Letta says.", deprecation_reason=_FIRST_RETURN
    )
    tool_returns: list[ToolReturn] = described(
        "What each call gave back: calls made at once come back together.", costs=[assumed(3)]
    )


@entity(description="The agent asks leave to call tools.")
@reads(records.ApprovalRequestMessage)
class ApprovalRequestMessage(Message):
    """The GraphQL face of the record of that name."""

    tool_calls: list[ToolCall] = described("The calls it wants to make.", costs=[assumed(3)])


@entity(description="A person's decision on an approval request.")
@reads(records.ApprovalResponseMessage)
class ApprovalResponseMessage(Message):
    """The GraphQL face of the record of that name."""

    approve: bool | None = described("Whether leave was given, for every call.")
    reason: str | None = described("Why, in the person's words.")


@entity(description="Something that happened in the conversation.")
@reads(records.EventMessage)
class EventMessage(Message):
    """The GraphQL face of the record of that name."""

    event_type: str | None = described("What happened, in Letta's word.")


@entity(description="A message of a kind, or in a form, that this gateway does not know, as Letta gave it.")
@reads(records.OpaqueMessage)
class OpaqueMessage(Message):
    """The GraphQL face of the record of that name."""

    type: str = described("Letta's name for the kind.")
    json: JSON = described("The whole message.")


@strawberry.type(description="A page of messages, oldest first.")
class MessageConnection(TwoWayConnection[Message]):
    """Relay connection."""


MessageEdge = TwoWayEdge[Message]

KINDS = [
    UserMessage,
    AssistantMessage,
    ReasoningMessage,
    SystemMessage,
    ToolCallMessage,
    ToolReturnMessage,
    ApprovalRequestMessage,
    ApprovalResponseMessage,
    EventMessage,
    OpaqueMessage,
]
