"""Owned ids for tests that call the clients directly."""

from __future__ import annotations

from typing import TypeVar, cast

from clients.owned import ConversationRef, OwnedAgentId, OwnedConversationId

T = TypeVar("T", bound=str)


def owned(kind: type[T], value: str) -> T:
    """Return an id of a kind, such as ``OwnedRunId``, without a proof of ownership."""
    return cast("T", value)


def conversation(conversation_id: str | None = None, agent_id: str = "agent-1") -> ConversationRef:
    """Return a conversation of an agent; without an id, the agent's default one."""
    made = None if conversation_id is None else owned(OwnedConversationId, conversation_id)
    return ConversationRef(owned(OwnedAgentId, agent_id), made)
