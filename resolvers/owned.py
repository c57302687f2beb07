"""Objects of the user's agents, with their ownership in the type (decision 0047).

The types are for mypy alone: at run time, an ``OwnedRun`` is the ``RunRecord`` that was read. Only this module, which
proves ownership by an owned id, and ``resolvers.access``, which proves it by AMS, cast to owned types.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from clients.ams import AgentRow
from clients.errors import NotFound
from clients.letta.records import ConversationRecord, PassageRecord, RunRecord
from clients.owned import ConversationRef, OwnedAgentId, OwnedConversationId, OwnedPassageId, OwnedRunId

DEFAULT_PREFIX = "conversation:"
"""The prefix of the ids of default conversations, ``conversation:<agent id>``."""


class OwnedAgent(AgentRow, kw_only=True):
    """An agent of the user's."""

    agent_id: OwnedAgentId


class OwnedConversation(ConversationRecord, kw_only=True):
    """A conversation with an agent of the user's."""

    agent_id: OwnedAgentId


class OwnedRun(RunRecord, kw_only=True):
    """A run of an agent of the user's."""

    id: OwnedRunId
    agent_id: OwnedAgentId


def not_found(kind: str) -> NotFound:
    """Return the error for missing objects, and for those of other users."""
    return NotFound(f"The {kind} does not exist.")


def default_conversation(agent_id: OwnedAgentId) -> OwnedConversation:
    """Return an agent's default conversation, which has no record in Letta."""
    return cast("OwnedConversation", ConversationRecord(id=f"{DEFAULT_PREFIX}{agent_id}", agent_id=agent_id))


def ref_of(conversation: OwnedConversation) -> ConversationRef:
    """Return the conversation's reference in calls to Letta."""
    if conversation.id.startswith(DEFAULT_PREFIX):
        return ConversationRef(conversation.agent_id)
    return ConversationRef(conversation.agent_id, cast("OwnedConversationId", conversation.id))


def conversations_of(agent_id: OwnedAgentId, records: Iterable[ConversationRecord]) -> list[OwnedConversation]:
    """Return the conversations that are with an agent of the user's."""
    return [cast("OwnedConversation", record) for record in records if record.agent_id == agent_id]


def runs_of(agent_id: OwnedAgentId, records: Iterable[RunRecord]) -> list[OwnedRun]:
    """Return the runs that are of an agent of the user's."""
    return [cast("OwnedRun", record) for record in records if record.agent_id == agent_id]


def run_named_in(conversation: ConversationRef, run_id: str) -> OwnedRunId:  # noqa: ARG001 - it is the proof
    """Return the id of a run that Letta named in a message or stream of a conversation of the user's."""
    return cast("OwnedRunId", run_id)


def passage_of(agent_id: OwnedAgentId, passage: PassageRecord) -> OwnedPassageId:
    """Return the id of a passage of an agent of the user's. Raises NotFound if it is of another agent."""
    if passage.agent_id != agent_id:
        raise not_found("passage")
    return cast("OwnedPassageId", passage.id)
