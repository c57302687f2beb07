"""Mutations of conversations."""

import strawberry
from strawberry import ID

from resolvers import conversations
from resolvers.info import Info
from resolvers.owned import OwnedConversation
from resolvers.paging import Edge
from schema.access import SIGNED_IN
from schema.base import described, optional
from schema.conversation import Conversation, ConversationEdge
from schema.inputs import OPTIONAL_KEY
from schema.outcomes import Payload, PayloadRecord, done_by, payload

_OWN_ID = "The conversation's id. The conversation must not be a default conversation."
_NEW_EDGE = "The new conversation as an edge, which clients can add at the start of `conversations`."


@strawberry.input(description="The conversation to create.")
class CreateConversationInput:
    agent_id: ID = described("The agent's id.")
    summary: str | None = optional("A short description of the topic, at most 1,000 characters.")
    idempotency_key: str | None = optional(OPTIONAL_KEY)


@strawberry.input(description="The new summary of a conversation.")
class UpdateConversationInput:
    conversation_id: ID = described(_OWN_ID)
    summary: str = described(
        "A short description of the topic, at most 1,000 characters. An empty string removes the summary."
    )


@strawberry.input(description="The conversation to fork.")
class ForkConversationInput:
    conversation_id: ID = described(_OWN_ID)
    idempotency_key: str | None = optional(OPTIONAL_KEY)


@strawberry.input(description="The conversation to delete.")
class DeleteConversationInput:
    conversation_id: ID = described(_OWN_ID)


class _Payload(PayloadRecord, kw_only=True):
    conversation_edge: Edge[OwnedConversation] | None = None
    conversation: OwnedConversation | None = None
    deleted_conversation_id: str | None = None


@payload(_Payload)
class CreateConversationPayload(Payload):
    conversation_edge: ConversationEdge | None = described(_NEW_EDGE)
    conversation: Conversation | None = described("The new conversation.")


@payload(_Payload)
class UpdateConversationPayload(Payload):
    conversation: Conversation | None = described("The updated conversation.")


@payload(_Payload)
class ForkConversationPayload(Payload):
    conversation_edge: ConversationEdge | None = described(_NEW_EDGE)
    conversation: Conversation | None = described("The new conversation.")


@payload(_Payload)
class DeleteConversationPayload(Payload):
    deleted_conversation_id: ID | None = described("The id of the deleted conversation.")


async def _create_conversation(info: Info, input: CreateConversationInput) -> _Payload:
    edge = await conversations.create(info.context, input.agent_id, input.summary, input.idempotency_key)
    return _Payload(conversation_edge=edge, conversation=edge.node)


async def _update_conversation(info: Info, input: UpdateConversationInput) -> _Payload:
    return _Payload(conversation=await conversations.update(info.context, input.conversation_id, input.summary))


async def _fork_conversation(info: Info, input: ForkConversationInput) -> _Payload:
    edge = await conversations.fork(info.context, input.conversation_id, input.idempotency_key)
    return _Payload(conversation_edge=edge, conversation=edge.node)


async def _delete_conversation(info: Info, input: DeleteConversationInput) -> _Payload:
    return _Payload(deleted_conversation_id=await conversations.delete(info.context, input.conversation_id))


@strawberry.type
class ConversationMutations:
    create_conversation: CreateConversationPayload = done_by(
        _Payload, _create_conversation, "Creates a conversation with an agent.", access=SIGNED_IN, calls=2
    )
    update_conversation: UpdateConversationPayload = done_by(
        _Payload, _update_conversation, "Updates a conversation's summary.", access=SIGNED_IN, calls=3
    )
    fork_conversation: ForkConversationPayload = done_by(
        _Payload,
        _fork_conversation,
        "Creates a conversation that starts with the context of an existing conversation. Later messages in one "
        "conversation do not affect the other conversation.",
        access=SIGNED_IN,
        calls=3,
    )
    delete_conversation: DeleteConversationPayload = done_by(
        _Payload,
        _delete_conversation,
        "Deletes a conversation and cancels its run in progress. A second deletion fails with NOT_FOUND.",
        access=SIGNED_IN,
        calls=4,
    )
