"""Records of objects that another record names. They have only what that record knows of the object (decision 0072).

A service has returned the other record, and ``access`` has checked its owner. The functions make no call, so they do
not check that the object still exists.
"""

from clients.ams import AgentRow, TemplateRecord
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord, RunRecord, StepRecord
from clients.owned import OwnedAgentId
from resolvers.owned import default_conversation, not_found


def agent(agent_id: str | None) -> AgentRow | None:
    """Return an agent of which only the id is known."""
    return None if agent_id is None else AgentRow(agent_id=agent_id)


def template(slug: str | None) -> TemplateRecord | None:
    """Return a template of which only the slug is known."""
    return TemplateRecord(id=slug, described=False) if slug else None


def run(run_id: str | None) -> RunRecord | None:
    """Return a run of which only the id is known. Raises NotFound if the id is malformed."""
    if run_id is None:
        return None
    if not is_letta_id(run_id, "run"):
        raise not_found("run")
    return RunRecord(id=run_id)


def step(step_id: str | None) -> StepRecord | None:
    """Return a step of which only the id is known, or ``None`` if the id is malformed."""
    return StepRecord(id=step_id) if step_id is not None and is_letta_id(step_id, "step") else None


def conversation(conversation_id: str | None, agent_id: OwnedAgentId) -> ConversationRecord:
    """Return a conversation of which only the ids are known. Raises NotFound if the conversation's id is malformed.

    Without a ``conversation_id``, this is the agent's default conversation.
    """
    if conversation_id is None:
        return default_conversation(agent_id)
    if not is_letta_id(conversation_id, "conv"):
        raise not_found("conversation")
    return ConversationRecord(id=conversation_id, agent_id=agent_id)
