"""Records of objects that another record names. They have only what that record knows of the object (decision 0072).

A service has returned the other record, and ``access`` has checked its owner. The functions make no call, so they do
not check that the object still exists.
"""

from functools import lru_cache

from clients.ams import AgentRow, TemplateRecord
from clients.errors import NotFound
from clients.letta.client import is_letta_id
from clients.letta.records import ConversationRecord, RunRecord, StepRecord
from clients.owned import OwnedAgentId
from resolvers.owned import default_conversation, not_found

_SHARED = 8_192
"""The maximum number of runs, and of steps, whose records are shared."""


def agent(agent_id: str | None) -> AgentRow | None:
    """Return an agent of which only the id is known."""
    return None if agent_id is None else AgentRow(agent_id=agent_id)


def template(slug: str | None) -> TemplateRecord | None:
    """Return a template of which only the slug is known."""
    return TemplateRecord(id=slug, described=False) if slug else None


# Most messages of a page share a run, and clients read the same pages again. A record has nothing but the id, and
# cannot be changed, so all readers can share the record. Checking an id and making its record takes five times as long.
# An exception is not cached, so no malformed id is kept.
@lru_cache(maxsize=_SHARED)
def run(run_id: str | None) -> RunRecord | None:
    """Return a run of which only the id is known. Raises NotFound if the id is malformed."""
    if run_id is None:
        return None
    if not is_letta_id(run_id, "run"):
        raise not_found("run")
    return RunRecord(id=run_id)


def step(step_id: str | None) -> StepRecord | None:
    """Return a step of which only the id is known, or ``None`` if the id is malformed."""
    try:
        return _step(step_id)
    except NotFound:
        return None


@lru_cache(maxsize=_SHARED)
def _step(step_id: str | None) -> StepRecord | None:
    if step_id is None:
        return None
    if not is_letta_id(step_id, "step"):
        raise not_found("step")
    return StepRecord(id=step_id)


def conversation(conversation_id: str | None, agent_id: OwnedAgentId) -> ConversationRecord:
    """Return a conversation of which only the ids are known. Raises NotFound if the conversation's id is malformed.

    Without a ``conversation_id``, this is the agent's default conversation.
    """
    if conversation_id is None:
        return default_conversation(agent_id)
    if not is_letta_id(conversation_id, "conv"):
        raise not_found("conversation")
    return ConversationRecord(id=conversation_id, agent_id=agent_id)
