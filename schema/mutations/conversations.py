"""Conversations."""

from __future__ import annotations

import strawberry
from strawberry import ID

from resolvers import conversations
from resolvers.info import Info
from resolvers.owned import OwnedConversation
from resolvers.paging import Edge
from schema.base import described, reads
from schema.conversation import Conversation, ConversationEdge
from schema.outcomes import Payload, PayloadRecord, done_by


@strawberry.input(description="A conversation to start.")
class CreateConversationInput:
    """What makes a conversation."""

    agent_id: ID = strawberry.field(description="The agent to hold it with.")
    summary: str | None = strawberry.field(default=None, description="What it is about, in a few words.")
    idempotency_key: str | None = strawberry.field(default=None, description="With the same key, the same answer.")


@strawberry.input(description="What a conversation is about, said anew.")
class UpdateConversationInput:
    """What changes a conversation."""

    conversation_id: ID = strawberry.field(description="The conversation; not an agent's default one.")
    summary: str = strawberry.field(description="What it is about, in a few words; empty to say nothing.")


@strawberry.input(description="A conversation to go on from twice.")
class ForkConversationInput:
    """What forks a conversation."""

    conversation_id: ID = strawberry.field(description="The conversation; not an agent's default one.")
    idempotency_key: str | None = strawberry.field(default=None, description="With the same key, the same answer.")


@strawberry.input(description="A conversation to delete.")
class DeleteConversationInput:
    """What deletes a conversation."""

    conversation_id: ID = strawberry.field(description="The conversation; not an agent's default one.")


class _Payload(PayloadRecord, kw_only=True):
    conversation_edge: Edge[OwnedConversation] | None = None
    conversation: OwnedConversation | None = None
    deleted_conversation_id: str | None = None


@strawberry.type(description="A conversation was started.")
@reads(_Payload)
class CreateConversationPayload(Payload):
    """Payload of ``createConversation``."""

    conversation_edge: ConversationEdge | None = described("The conversation, for the front of `conversations`.")
    conversation: Conversation | None = described("The conversation.")


@strawberry.type(description="A conversation was changed.")
@reads(_Payload)
class UpdateConversationPayload(Payload):
    """Payload of ``updateConversation``."""

    conversation: Conversation | None = described("The conversation as it is now.")


@strawberry.type(description="A conversation was forked.")
@reads(_Payload)
class ForkConversationPayload(Payload):
    """Payload of ``forkConversation``."""

    conversation_edge: ConversationEdge | None = described("The new conversation, for the front of `conversations`.")
    conversation: Conversation | None = described("The new conversation.")


@strawberry.type(description="A conversation was deleted.")
@reads(_Payload)
class DeleteConversationPayload(Payload):
    """Payload of ``deleteConversation``."""

    deleted_conversation_id: ID | None = described("The id it had, for taking it out of `conversations`.")


async def _create_conversation(info: Info, input: CreateConversationInput) -> _Payload:  # noqa: A002 - the name in the graph
    edge = await conversations.create(info.context, input.agent_id, input.summary, input.idempotency_key)
    return _Payload(conversation_edge=edge, conversation=edge.node)


async def _update_conversation(info: Info, input: UpdateConversationInput) -> _Payload:  # noqa: A002 - as above
    return _Payload(conversation=await conversations.update(info.context, input.conversation_id, input.summary))


async def _fork_conversation(info: Info, input: ForkConversationInput) -> _Payload:  # noqa: A002 - as above
    edge = await conversations.fork(info.context, input.conversation_id, input.idempotency_key)
    return _Payload(conversation_edge=edge, conversation=edge.node)


async def _delete_conversation(info: Info, input: DeleteConversationInput) -> _Payload:  # noqa: A002 - as above
    return _Payload(deleted_conversation_id=await conversations.delete(info.context, input.conversation_id))


@strawberry.type
class ConversationMutations:
    """Part of the root of mutations."""

    create_conversation: CreateConversationPayload = done_by(
        _Payload, _create_conversation, "Start a conversation with one of your agents.", calls=2
    )
    update_conversation: UpdateConversationPayload = done_by(
        _Payload, _update_conversation, "Say anew what a conversation is about.", calls=3
    )
    fork_conversation: ForkConversationPayload = done_by(
        _Payload,
        _fork_conversation,
        "Start a conversation that begins with what another one has in mind; the two then go their own ways.",
        calls=3,
    )
    delete_conversation: DeleteConversationPayload = done_by(
        _Payload,
        _delete_conversation,
        "Delete a conversation, and stop what runs in it. One that is gone already is NOT_FOUND.",
        calls=4,
    )
