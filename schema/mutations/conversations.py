"""Conversations."""

from __future__ import annotations

import strawberry
from strawberry import ID

from clients.letta.records import ConversationRecord
from resolvers import conversations
from resolvers.info import Info
from resolvers.paging import Edge
from schema.base import described, reads
from schema.conversation import ConversationEdge
from schema.outcomes import Payload, PayloadRecord, done_by


@strawberry.input(description="A conversation to start.")
class CreateConversationInput:
    """What makes a conversation."""

    agent_id: ID = strawberry.field(description="The agent to hold it with.")
    summary: str | None = strawberry.field(default=None, description="What it is about, in a few words.")


class _Payload(PayloadRecord, kw_only=True):
    conversation_edge: Edge[ConversationRecord] | None = None


@strawberry.type(description="A conversation was started.")
@reads(_Payload)
class CreateConversationPayload(Payload):
    """Payload of ``createConversation``."""

    conversation_edge: ConversationEdge | None = described("The conversation, for the front of `conversations`.")


async def _create_conversation(info: Info, input: CreateConversationInput) -> _Payload:  # noqa: A002 - the name in the graph
    edge = await conversations.create(info.context, input.agent_id, input.summary)
    return _Payload(conversation_edge=edge)


@strawberry.type
class ConversationMutations:
    """Part of the root of mutations."""

    create_conversation: CreateConversationPayload = done_by(
        _Payload, _create_conversation, "Start a conversation with one of your agents."
    )
