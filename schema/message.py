"""Messages: an interface, and one type per kind of message."""

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
    "The result of a tool call.",
    SUCCESS="The tool returned a result.",
    ERROR="The tool failed. `text` has the error.",
    UNKNOWN="A status that the gateway does not know.",
)
enum(
    MessageRole,
    "The author of a message.",
    USER="The user.",
    ASSISTANT="The agent.",
    SYSTEM="The platform.",
    TOOL="A tool.",
    UNKNOWN="An author that the gateway does not know.",
)


async def _conversation(record: Parent[records.MessageRecord], info: Info) -> OwnedConversation:
    return await conversations.by_ref(info.context, record.conversation)


async def _run(record: Parent[records.MessageRecord], info: Info) -> OwnedRun | None:
    return await turns.run_of(info.context, record.run_id)


async def _step(record: Parent[records.MessageRecord], info: Info) -> StepRecord | None:
    return await runs.step_of(info.context, record.step_id)


@strawberry.interface(
    description="An entry of a conversation: a message, reasoning, a tool call, an approval or an event."
)
class Message(Node):
    role: MessageRole = described("The author of the message.")
    text: str | None = described("The message's text. Null if it has none.")
    created_at: datetime | None = described("When Letta stored the message. Null in a stream until it is stored.")
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversation, "The conversation that contains the message.", costs=[calls()]
    )
    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        _run, "The run that produced the message.", optional=True, costs=[calls()]
    )
    step: Annotated[Step, strawberry.lazy("schema.run")] | None = answered_by(
        _step,
        "The model call that produced the message. Null if Letta has no record of it.",
        optional=True,
        costs=[calls()],
    )


@strawberry.type(description="A tool call that the model requests.")
@reads(tools.ToolCall)
class ToolCall:
    tool_call_id: ID | None = described("The call's id. The tool's result refers to it.")
    name: str | None = described("The tool's name.")
    arguments: str | None = described("The arguments, as the JSON text that the model wrote. It can be invalid JSON.")


@strawberry.type(description="The result of one tool call.")
@reads(tools.ToolReturn)
class ToolReturn:
    tool_call_id: ID | None = described("The id of the tool call.")
    status: tools.ToolReturnStatus | None = described("Whether the call succeeded.")
    text: str | None = described("The tool's output.")


@strawberry.type(description="An image in a message.")
@reads(ImageRecord)
class MessageImage:
    url: str | None = described(
        "The image's URL: the address that was sent, or a data URL after Letta has stored the image."
    )
    media_type: str | None = described("The media type, such as `image/png`. Null if unknown.")


@entity(description="A message of the user.")
@reads(records.UserMessage)
class UserMessage(Message):
    images: list[MessageImage] = described("Images of the message.", costs=[assumed(3)])


@entity(description="An answer of the agent.")
@reads(records.AssistantMessage)
class AssistantMessage(Message):
    """GraphQL type of the record of the same name."""


@entity("The model's reasoning before an answer or a tool call. `text` is null if the provider does not return it.")
@reads(records.ReasoningMessage)
class ReasoningMessage(Message):
    """GraphQL type of the record of the same name."""


@entity(description="Instructions to the agent, or a notice such as the compaction of its context.")
@reads(records.SystemMessage)
class SystemMessage(Message):
    """GraphQL type of the record of the same name."""


@entity(description="Tool calls of the agent.")
@reads(records.ToolCallMessage)
class ToolCallMessage(Message):
    tool_calls: list[ToolCall] = described("The tool calls.", costs=[assumed(3)])


@entity(description="Results of tool calls. `name`, `toolCallId`, `status` and `text` describe the first result alone.")
@reads(records.ToolReturnMessage)
class ToolReturnMessage(Message):
    name: str | None = described("Name of the tool.")
    tool_call_id: str | None = strawberry.field(
        description="The id of the tool call.", deprecation_reason=_FIRST_RETURN
    )
    status: str | None = strawberry.field(
        description="Letta's status: `success` or `error`.", deprecation_reason=_FIRST_RETURN
    )
    tool_returns: list[ToolReturn] = described(
        "One result per tool call. Parallel calls return in one message.", costs=[assumed(3)]
    )


@entity(description="A request of the agent to approve tool calls. Answer it with `respondToApproval`.")
@reads(records.ApprovalRequestMessage)
class ApprovalRequestMessage(Message):
    tool_calls: list[ToolCall] = described("The tool calls that need approval.", costs=[assumed(3)])


@entity(description="The user's decision on an approval request.")
@reads(records.ApprovalResponseMessage)
class ApprovalResponseMessage(Message):
    approve: bool | None = described("Whether the tool calls were approved. The decision covers all of them.")
    reason: str | None = described("The reason for the decision, as the user gave it.")


@entity(description="An event of the conversation.")
@reads(records.EventMessage)
class EventMessage(Message):
    event_type: str | None = described("Letta's type of the event.")


@entity(description="A message of a type or form that the gateway does not know, as Letta returned it.")
@reads(records.OpaqueMessage)
class OpaqueMessage(Message):
    type: str = described("Letta's type of the message.")
    json: JSON = described("The whole message, as JSON.")


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
