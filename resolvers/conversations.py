"""Conversations: lists of them, one of them, a new one."""

from __future__ import annotations

from strawberry import Parent

from clients.ams import AgentRow
from clients.errors import BadUserInput
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.paging import Edge, Page, Window, decode_cursor, encode_cursor, page


async def conversation_page(context: RequestContext, agent_id: str, asked: Window) -> Page[ConversationRecord]:
    """An agent's conversations, newest first. The caller has proved that the agent is the principal's."""
    after = None if asked.cursor is None else decode_cursor(asked.cursor, str)
    if after is not None and not is_letta_id(after, "conv"):
        raise BadUserInput("The cursor is not one of this list.", reason="CURSOR")
    if asked.size == 0:
        return page([], asked, more=False)
    records = await context.loaders.conversations.load((agent_id, asked.size + 1, after))
    own = [record for record in records if record.agent_id == agent_id]
    edges = [conversation_edge(record) for record in own[: asked.size]]
    return page(edges, asked, more=len(records) > asked.size)


def conversation_edge(record: ConversationRecord) -> Edge[ConversationRecord]:
    """The conversation in its place in its agent's list."""
    return Edge(record, encode_cursor(record.id))


async def create(context: RequestContext, agent_id: str, summary: str | None) -> Edge[ConversationRecord]:
    """Start a conversation with an agent of the principal's."""
    row = await context.access.agent(agent_id)
    record = await context.resources.letta.create_conversation(context.scope, row.agent_id, summary)
    return conversation_edge(record)


async def agent(record: Parent[ConversationRecord], info: Info) -> AgentRow:
    """The agent it is held with."""
    return await info.context.access.agent(record.agent_id)
