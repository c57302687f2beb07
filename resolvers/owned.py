"""Types of objects whose owner has been checked (decision 0047).

The types are for mypy alone: at run time, an ``OwnedRun`` is a ``RunRecord``. Only this module and
``resolvers.access`` cast to these types.
"""

from collections.abc import Iterable
from typing import cast

from clients.ams import AgentRow, Profile
from clients.errors import NotFound
from clients.letta.ids import is_letta_id
from clients.letta.records import ConversationRecord, PassageRecord, RunRecord
from clients.owned import ConversationRef, OwnedAgentId, OwnedConversationId, OwnedPassageId, OwnedRunId

DEFAULT_PREFIX = "conversation:"
"""The prefix of the ids of default conversations, ``conversation:<agent id>``."""


class OwnedAgent(AgentRow, kw_only=True):
    """One of the user's agents."""

    agent_id: OwnedAgentId


class OwnedConversation(ConversationRecord, kw_only=True, frozen=True):
    """A conversation with one of the user's agents."""

    agent_id: OwnedAgentId


class OwnedRun(RunRecord, kw_only=True, frozen=True):
    """A run of one of the user's agents."""

    id: OwnedRunId
    agent_id: OwnedAgentId


def not_found(kind: str) -> NotFound:
    """Return the error for an object that does not exist or belongs to another user."""
    return NotFound(f"The {kind} does not exist, or you have no permission to read it. Check the id.")


def default_conversation(agent_id: OwnedAgentId) -> OwnedConversation:
    """Return an agent's default conversation, which has no record in Letta."""
    return cast("OwnedConversation", ConversationRecord(id=f"{DEFAULT_PREFIX}{agent_id}", agent_id=agent_id))


def ref_of(conversation: OwnedConversation) -> ConversationRef:
    """Return the reference that calls to Letta use for the conversation."""
    if conversation.id.startswith(DEFAULT_PREFIX):
        return ConversationRef(conversation.agent_id)
    return ConversationRef(conversation.agent_id, cast("OwnedConversationId", conversation.id))


def agents_of(profile: Profile) -> list[OwnedAgent]:
    """Return the agents of the signed-in user, whose profile AMS has returned."""
    return cast("list[OwnedAgent]", profile.agents)


def conversations_of(agent_id: OwnedAgentId, records: Iterable[ConversationRecord]) -> list[OwnedConversation]:
    """Return the conversations that belong to the user's agent."""
    return [cast("OwnedConversation", record) for record in records if record.agent_id == agent_id]


def runs_of(agent_id: OwnedAgentId, records: Iterable[RunRecord]) -> list[OwnedRun]:
    """Return the runs that belong to the user's agent."""
    return [cast("OwnedRun", record) for record in records if record.agent_id == agent_id]


def run_named_in(conversation: ConversationRef, run_id: str) -> OwnedRunId:  # noqa: ARG001 - proves ownership
    """Return an ``OwnedRunId`` for a run that Letta reported in the user's conversation."""
    return cast("OwnedRunId", run_id)


def conversation_of_stream(agent_id: str, conversation_id: str | None) -> ConversationRef:
    """Return the conversation of a stream that another process of the gateway has begun (decision 0062).

    ``access`` confirmed the owner when the stream began, and only the gateway writes the records of streams. Raises
    NotFound if an id is malformed, since ids become parts of URL paths.
    """
    if not is_letta_id(agent_id, "agent") or not (conversation_id is None or is_letta_id(conversation_id, "conv")):
        raise not_found("conversation")
    return ConversationRef(cast("OwnedAgentId", agent_id), cast("OwnedConversationId | None", conversation_id))


def run_of_stream(conversation: ConversationRef, run_id: str) -> OwnedRunId:
    """Return the run that a stored stream of the conversation has named. Raises NotFound if the id is malformed."""
    if not is_letta_id(run_id, "run"):
        raise not_found("run")
    return run_named_in(conversation, run_id)


def passage_of(agent_id: OwnedAgentId, passage: PassageRecord) -> OwnedPassageId:
    """Return a passage's id. Raise NotFound if the passage belongs to another agent."""
    if passage.agent_id != agent_id:
        raise not_found("passage")
    return cast("OwnedPassageId", passage.id)
