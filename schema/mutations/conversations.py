"""Mutations of conversations."""

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


@strawberry.input(description="The conversation to create.")
class CreateConversationInput:
    """The input of ``createConversation``."""

    agent_id: ID = strawberry.field(description="The agent's id.")
    summary: str | None = strawberry.field(
        default=None, description="A short description of the topic, at most 1,000 characters."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Optional; 1 to 200 characters. A repeated request with the same key returns the first result.",
    )


@strawberry.input(description="The new summary of a conversation.")
class UpdateConversationInput:
    """The input of ``updateConversation``."""

    conversation_id: ID = strawberry.field(description="The conversation's id. It cannot be a default conversation.")
    summary: str = strawberry.field(
        description="A short description of the topic, at most 1,000 characters. An empty string removes it."
    )


@strawberry.input(description="The conversation to fork.")
class ForkConversationInput:
    """The input of ``forkConversation``."""

    conversation_id: ID = strawberry.field(description="The conversation's id. It cannot be a default conversation.")
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Optional; 1 to 200 characters. A repeated request with the same key returns the first result.",
    )


@strawberry.input(description="The conversation to delete.")
class DeleteConversationInput:
    """The input of ``deleteConversation``."""

    conversation_id: ID = strawberry.field(description="The conversation's id. It cannot be a default conversation.")


class _Payload(PayloadRecord, kw_only=True):
    conversation_edge: Edge[OwnedConversation] | None = None
    conversation: OwnedConversation | None = None
    deleted_conversation_id: str | None = None


@strawberry.type(description="The result of `createConversation`.")
@reads(_Payload)
class CreateConversationPayload(Payload):
    """Payload of ``createConversation``."""

    conversation_edge: ConversationEdge | None = described(
        "The new conversation as an edge, for prepending to `conversations`."
    )
    conversation: Conversation | None = described("The new conversation.")


@strawberry.type(description="The result of `updateConversation`.")
@reads(_Payload)
class UpdateConversationPayload(Payload):
    """Payload of ``updateConversation``."""

    conversation: Conversation | None = described("The updated conversation.")


@strawberry.type(description="The result of `forkConversation`.")
@reads(_Payload)
class ForkConversationPayload(Payload):
    """Payload of ``forkConversation``."""

    conversation_edge: ConversationEdge | None = described(
        "The new conversation as an edge, for prepending to `conversations`."
    )
    conversation: Conversation | None = described("The new conversation.")


@strawberry.type(description="The result of `deleteConversation`.")
@reads(_Payload)
class DeleteConversationPayload(Payload):
    """Payload of ``deleteConversation``."""

    deleted_conversation_id: ID | None = described("The id of the deleted conversation.")


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
        _Payload, _create_conversation, "Creates a conversation with an agent.", calls=2
    )
    update_conversation: UpdateConversationPayload = done_by(
        _Payload, _update_conversation, "Updates a conversation's summary.", calls=3
    )
    fork_conversation: ForkConversationPayload = done_by(
        _Payload,
        _fork_conversation,
        "Creates a conversation that starts with the context of an existing one. Later messages of "
        "either do not affect the other.",
        calls=3,
    )
    delete_conversation: DeleteConversationPayload = done_by(
        _Payload,
        _delete_conversation,
        "Deletes a conversation and cancels its run in progress. A repeated deletion is NOT_FOUND.",
        calls=4,
    )
