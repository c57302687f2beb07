"""The GraphQL types for conversations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Parent

from clients.letta.messages import MessageRecord
from clients.letta.records import ConversationRecord
from resolvers import conversations, messages, runs
from resolvers.info import Info
from resolvers.owned import OwnedConversation, ref_of
from resolvers.paging import Page, window
from schema import named
from schema.arguments import After, Before, First, Last
from schema.base import answered_by, described, entity, object_type
from schema.connections import Connection, Edge
from schema.costs import SHARED, TWO_WAY_PAGE, calls
from schema.node import Node

if TYPE_CHECKING:
    from schema.agent import Agent
    from schema.message import MessageConnection
    from schema.run import Run


async def _messages(
    record: Parent[OwnedConversation],
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Page[MessageRecord]:
    page = window(first, after, last, before, newest=True)
    return await messages.message_page(info.context, ref_of(record), page)


@entity(
    "A sequence of messages between the user and an agent. The agent answers one message of a conversation at a time.",
    ConversationRecord,
)
class Conversation(Node):
    agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(
        conversations.agent, "The conversation's agent.", held=named.AGENT
    )
    summary: str | None = described("A short description of the conversation's topic.")
    messages: Annotated[MessageConnection, strawberry.lazy("schema.message")] | None = answered_by(
        _messages,
        "The conversation's messages, oldest first. Without arguments, the page has the 20 newest messages.",
        costs=[calls(), TWO_WAY_PAGE],
    )
    active_run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        runs.active_run,
        "The conversation's run in progress. Null if no run is in progress.",
        optional=True,
        costs=[SHARED],
    )
    last_message_at: datetime | None = described("When the last message was stored. Null for a default conversation.")
    created_at: datetime | None = described("When the conversation was created. Null for a default conversation.")


@object_type("A page of conversations, newest first.")
class ConversationConnection(Connection[Conversation]):
    """A Relay connection of conversations."""


ConversationEdge = Edge[Conversation]
