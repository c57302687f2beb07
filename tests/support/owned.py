"""Owned ids for tests that call the clients themselves: the platform of a test is the test's own."""

from __future__ import annotations

from typing import TypeVar, cast

from clients.owned import ConversationRef, OwnedAgentId, OwnedConversationId

T = TypeVar("T", bound=str)


def owned(kind: type[T], value: str) -> T:
    """An id of a kind, such as ``OwnedRunId``, without a proof."""
    return cast("T", value)


def conversation(conversation_id: str | None = None, agent_id: str = "agent-1") -> ConversationRef:
    """A conversation with an agent; the agent's default one without an id."""
    made = None if conversation_id is None else owned(OwnedConversationId, conversation_id)
    return ConversationRef(owned(OwnedAgentId, agent_id), made)
