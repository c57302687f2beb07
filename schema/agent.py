"""Agents and what belongs to them alone."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Parent

from clients.ams import AgentRow
from clients.letta.messages import MessageRecord
from clients.letta.records import ConversationRecord, MemoryBlockRecord, ToolRecord
from resolvers import agents, conversations, messages
from resolvers.info import Info
from resolvers.paging import Page, window
from schema.base import answered_by, described, entity, reads
from schema.connections import CountedConnection
from schema.node import Node
from schema.template import Template

if TYPE_CHECKING:
    from schema.conversation import Conversation, ConversationConnection
    from schema.message import MessageConnection
    from schema.model import Model


@entity(description="A block of core memory: what the agent always has before its eyes.")
@reads(MemoryBlockRecord)
class MemoryBlock(Node):
    """The GraphQL face of MemoryBlockRecord."""

    label: str = described("What the block is called, such as `human` or `persona`.")
    value: str = described("What stands in it.")
    limit: int | None = described("How many characters fit in.")
    description: str | None = described("What the agent is told the block is for.")
    read_only: bool = described("Whether the agent is kept from changing it.")


@entity(description="A tool that an agent can call.")
@reads(ToolRecord)
class Tool(Node):
    """The GraphQL face of ToolRecord."""

    name: str | None = described("The name the model calls it by.")
    description: str | None = described("What the model is told it does.")


async def _conversations(
    row: Parent[AgentRow], info: Info, first: int | None = None, after: str | None = None
) -> Page[ConversationRecord]:
    return await conversations.conversation_page(info.context, row.agent_id, window(first, after))


async def _messages(
    row: Parent[AgentRow],
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> Page[MessageRecord]:
    return await messages.message_page(info.context, row.agent_id, window(first, after, last, before, newest=True))


@entity(description="An agent you own: AMS knows whose it is, Letta keeps its state.")
@reads(AgentRow)
class Agent(Node):
    """The GraphQL face of AgentRow; what Letta keeps is answered by resolvers."""

    version: str | None = described("The version of its template that it runs (SemVer).")
    template: Template | None = answered_by(agents.template, "The template it was made from.", optional=True)
    name: str | None = answered_by(agents.name, "Its name.")
    description: str | None = answered_by(agents.description, "What it is for.", optional=True)
    model: Annotated[Model, strawberry.lazy("schema.model")] | None = answered_by(
        agents.model, "The model it thinks with; null where your key may not call that model.", optional=True
    )
    tags: list[str] | None = answered_by(agents.tags, "Its tags.")
    tools: list[Tool] | None = answered_by(agents.tools, "The tools it can call.")
    memory_blocks: list[MemoryBlock] | None = answered_by(agents.memory_blocks, "Its core memory.")
    default_conversation: Annotated[Conversation, strawberry.lazy("schema.conversation")] | None = answered_by(
        agents.conversation_of, "The conversation it has by itself, without one being made."
    )
    conversations: Annotated[ConversationConnection, strawberry.lazy("schema.conversation")] | None = answered_by(
        _conversations, "The conversations made with it, newest first. The default conversation is not among them."
    )
    messages: Annotated[MessageConnection, strawberry.lazy("schema.message")] | None = answered_by(
        _messages, "The messages of its default conversation, oldest first; without arguments the newest 20."
    )
    created_at: datetime | None = described("When it was made.")
    updated_at: datetime | None = described("When AMS last changed its row.")


@strawberry.type(description="A page of agents, newest first.")
class AgentConnection(CountedConnection[Agent]):
    """Relay connection."""
