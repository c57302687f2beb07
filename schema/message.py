"""The GraphQL types for messages: an interface, and one type for each kind of message."""

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
from resolvers import conversations, runs
from resolvers.info import Info
from resolvers.owned import OwnedConversation
from schema import named
from schema.base import answered_by, described, entity, enum, object_type, shows
from schema.connections import TwoWayConnection, TwoWayEdge
from schema.costs import assumed, calls
from schema.node import Node
from schema.run import run_of

if TYPE_CHECKING:
    from schema.conversation import Conversation
    from schema.run import Run, Step

_FIRST_RETURN = "The first return alone: read `toolReturns`."

enum(
    tools.ToolReturnStatus,
    "Whether a tool call succeeded.",
    SUCCESS="The tool returned a result.",
    ERROR="The tool failed. `text` has the error message.",
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


async def _step(record: Parent[records.MessageRecord], info: Info) -> StepRecord | None:
    return await runs.step_of(info.context, record.step_id)


@strawberry.interface(
    description="An entry of a conversation: a message, reasoning, a tool call, an approval or an event."
)
class Message(Node):
    role: MessageRole = described("The author of the message.")
    text: str | None = described("The message's text. Null if the message has no text.")
    created_at: datetime | None = described(
        "When Letta stored the message. In a stream, the field is null until Letta has stored the message."
    )
    conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversation,
        "The conversation that contains the message.",
        costs=[calls()],
        held=named.MESSAGES_CONVERSATION,
    )
    run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        run_of, "The run that produced the message.", optional=True, costs=[calls()], held=named.RUN
    )
    step: Annotated[Step, strawberry.lazy("schema.run")] | None = answered_by(
        _step,
        "The model call that produced the message. Null if Letta has no record of the call. If only `id` is selected, "
        "the gateway does not ask Letta.",
        optional=True,
        costs=[calls()],
        held=named.STEP,
    )


@shows("A tool call that the model requested.", tools.ToolCall)
class ToolCall:
    tool_call_id: ID | None = described("The id of the tool call. The call's `ToolReturn` has the same id.")
    name: str | None = described("The tool's name.")
    arguments: str | None = described(
        "The arguments, as the JSON text that the model wrote. The text can be invalid JSON."
    )


@shows("The result of one tool call.", tools.ToolReturn)
class ToolReturn:
    tool_call_id: ID | None = described("The id of the tool call.")
    status: tools.ToolReturnStatus | None = described("Whether the call succeeded.")
    text: str | None = described("The tool's output.")


@shows("An image in a message.", ImageRecord)
class MessageImage:
    url: str | None = described(
        "The image's URL: the URL that the client sent, or a data URL after Letta has stored the image."
    )
    media_type: str | None = described("The image's media type, such as `image/png`. Null if unknown.")


@entity("A message from the user.", records.UserMessage)
class UserMessage(Message):
    images: list[MessageImage] = described("The images in the message.", costs=[assumed(3)])


@entity("An answer from the agent.", records.AssistantMessage)
class AssistantMessage(Message):
    """The GraphQL type for ``records.AssistantMessage``."""


@entity(
    "The model's reasoning before an answer or a tool call. `text` is null if the provider does not return the "
    "reasoning.",
    records.ReasoningMessage,
)
class ReasoningMessage(Message):
    """The GraphQL type for ``records.ReasoningMessage``."""


@entity(
    "Instructions to the agent, or a notice about the conversation, such as a summary of earlier messages.",
    records.SystemMessage,
)
class SystemMessage(Message):
    """The GraphQL type for ``records.SystemMessage``."""


@entity("Tool calls that the agent makes.", records.ToolCallMessage)
class ToolCallMessage(Message):
    tool_calls: list[ToolCall] = described("The tool calls.", costs=[assumed(3)])


@entity(
    "Results of tool calls. `name`, `toolCallId`, `status` and `text` describe only the first result.",
    records.ToolReturnMessage,
)
class ToolReturnMessage(Message):
    name: str | None = described("The name of the first tool.")
    tool_call_id: str | None = strawberry.field(
        description="The id of the tool call.", deprecation_reason=_FIRST_RETURN
    )
    status: str | None = strawberry.field(
        description="The first tool call's status in Letta: `success` or `error`.",
        deprecation_reason=_FIRST_RETURN,
    )
    tool_returns: list[ToolReturn] = described(
        "One result per tool call. The message has the results of all parallel tool calls.", costs=[assumed(3)]
    )


@entity(
    "The agent's request to approve tool calls. Answer the request with `respondToApproval`.",
    records.ApprovalRequestMessage,
)
class ApprovalRequestMessage(Message):
    tool_calls: list[ToolCall] = described("The tool calls that need approval.", costs=[assumed(3)])


@entity("The user's decision on an approval request.", records.ApprovalResponseMessage)
class ApprovalResponseMessage(Message):
    approve: bool | None = described(
        "Whether the user approved the tool calls. The decision applies to all tool calls of the request. Null if a "
        "client of Letta has executed the tools itself and sent the results."
    )
    reason: str | None = described("The reason that the user gave for the decision.")


@entity(
    "An event in the conversation, such as a summary of earlier messages.",
    records.EventMessage,
)
class EventMessage(Message):
    event_type: str | None = described("The event's type in Letta.")


@entity(
    "A message whose type or format the gateway does not know. `json` has the message as Letta returned it.",
    records.OpaqueMessage,
)
class OpaqueMessage(Message):
    type: str = described("The message's type in Letta.")
    json: JSON = described("The whole message, as JSON.")


@object_type("A page of messages, oldest first.")
class MessageConnection(TwoWayConnection[Message]):
    """A Relay connection of messages."""


MessageEdge = TwoWayEdge[Message]
