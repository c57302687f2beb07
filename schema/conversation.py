"""Conversations."""

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
from schema.arguments import After, Before, First, Last
from schema.base import answered_by, described, entity, reads
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
    asked = window(first, after, last, before, newest=True)
    return await messages.message_page(info.context, ref_of(record), asked)


@entity(description="A conversation with one of your agents.")
@reads(ConversationRecord)
class Conversation(Node):
    """The GraphQL face of ConversationRecord."""

    agent: Annotated[Agent, strawberry.lazy("schema.agent")] | None = answered_by(
        conversations.agent, "The agent it is held with."
    )
    summary: str | None = described("What it is about, in a few words.")
    messages: Annotated[MessageConnection, strawberry.lazy("schema.message")] | None = answered_by(
        _messages, "Its messages, oldest first; without arguments the newest 20.", costs=[calls(), TWO_WAY_PAGE]
    )
    active_run: Annotated[Run, strawberry.lazy("schema.run")] | None = answered_by(
        runs.active_run, "The run it is busy with.", optional=True, costs=[SHARED]
    )
    last_message_at: datetime | None = described("When something was last said; null for a default conversation.")
    created_at: datetime | None = described("When it was started; null for a default conversation.")


@strawberry.type(description="A page of conversations, newest first.")
class ConversationConnection(Connection[Conversation]):
    """Relay connection."""


ConversationEdge = Edge[Conversation]
