"""Reads agents from AMS and Letta, and the agents' models from LiteLLM."""

from typing import Any

import msgspec
from strawberry import Parent

from clients.ams import AgentFacts, TemplateRecord, UpgradePlan
from clients.codes import Reason
from clients.errors import GatewayError
from clients.letta.client import is_letta_id
from clients.letta.records import AgentState, MemoryBlockRecord, ToolRecord
from clients.litellm import ModelRecord
from clients.owned import OwnedAgentId
from resolvers import checks
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loaded import loaded
from resolvers.loader_keys import AgentSearch, UpgradeKey
from resolvers.loaders import Loaders
from resolvers.loading import Loader, settled
from resolvers.models import model_if_callable
from resolvers.owned import OwnedAgent, OwnedConversation, default_conversation, not_found
from resolvers.paging import Edge, Moment, Page, Window, decode_cursor, encode_cursor, moment, page
from resolvers.principal import Principal

_KINDS = {"block": "memory block", "tool": "tool"}


class _AgentCursor(msgspec.Struct, array_like=True):
    """An agent's position in the list of agents. The cursor stays valid after the agent is deleted."""

    created_at: Moment
    agent_id: str


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for a list of agents. A field that is ``None`` does not filter."""

    template_slug: str | None = None
    tag: str | None = None
    search: str | None = None


async def agent_page(context: RequestContext, window: Window, criteria: Criteria) -> Page[OwnedAgent]:
    """Read a page of the user's agents that match the criteria, newest first."""
    cursor = None if window.cursor is None else decode_cursor(window.cursor, _AgentCursor)
    matching = rows = sorted(await _rows(context, criteria), key=_newest_first)
    if cursor is not None:
        mark = (-cursor.created_at.timestamp(), cursor.agent_id)
        rows = [row for row in rows if (_newest_first(row) < mark if window.backward else _newest_first(row) > mark)]
    chosen = rows[max(0, len(rows) - window.size) :] if window.backward else rows[: window.size]
    more, beyond = len(rows) > window.size, len(rows) < len(matching)
    return page(chosen, _cursor, window, more=more, beyond=beyond, total=len(matching))


async def _rows(context: RequestContext, criteria: Criteria) -> list[OwnedAgent]:
    tag, search = checks.tag(criteria.tag), checks.search(criteria.search)
    rows = await context.access.agents()
    if criteria.template_slug is not None:
        rows = [row for row in rows if row.template_id == criteria.template_slug]
    if not rows or (tag is None and search is None):
        return rows
    found = await context.loaders.agents_found.load(AgentSearch(tag, search))
    rows = [row for row in rows if row.agent_id in found]
    for row in rows:
        context.loaders.agent_state.prime(row.agent_id, found[row.agent_id])
    return rows


async def agent_edge(context: RequestContext, agent_id: str) -> Edge[OwnedAgent]:
    """Return the user's agent as an edge of the list of agents. Raises NotFound."""
    return Edge(await context.access.agent(agent_id), _cursor)


def _cursor(row: OwnedAgent) -> str:
    return encode_cursor(_AgentCursor(moment(row.created_at), row.agent_id))


def _newest_first(row: OwnedAgent) -> tuple[float, str]:
    return (-moment(row.created_at).timestamp(), row.agent_id)


def _agent_id(row: OwnedAgent) -> OwnedAgentId:
    return row.agent_id


def _agent_state(loaders: Loaders) -> Loader[OwnedAgentId, AgentState]:
    return loaders.agent_state


@loaded(_agent_state, key=_agent_id)
def name(state: AgentState) -> str | None:
    """Return the agent's name in Letta."""
    return state.name


@loaded(_agent_state, key=_agent_id)
def description(state: AgentState) -> str | None:
    """Return the agent's description in Letta."""
    return state.description


@loaded(_agent_state, key=_agent_id)
def tags(state: AgentState) -> list[str]:
    """Return the agent's tags in Letta, without the platform's reserved tags."""
    return [tag for tag in state.tags if not tag.startswith(checks.PLATFORM_TAG)]


@loaded(_agent_state, key=_agent_id)
def tools(state: AgentState) -> list[ToolRecord]:
    """Return the tools that are attached to the agent."""
    return state.tools


@loaded(_agent_state, key=_agent_id)
def memory_blocks(state: AgentState, *, labels: list[str] | None = None) -> list[MemoryBlockRecord]:
    """Return the agent's memory blocks. If labels are given, return only blocks with these labels."""
    return state.blocks if labels is None else [block for block in state.blocks if block.label in labels]


async def attached(context: RequestContext, node_id: str) -> MemoryBlockRecord | ToolRecord:
    """Return a memory block or tool of the user's agents by its id. Raises NotFound."""
    kind = "block" if node_id.startswith("block") else "tool"
    if not is_letta_id(node_id, kind):
        raise not_found(_KINDS[kind])
    found = await _attached_in(context, context.loaders, node_id)
    if found is None and (uncached := context.loaders.uncached) is not None:
        found = await _attached_in(context, uncached, node_id)
    if found is None:
        raise not_found(_KINDS[kind])
    return found


async def _attached_in(
    context: RequestContext, loaders: Loaders, node_id: str
) -> MemoryBlockRecord | ToolRecord | None:
    rows = await context.access.agents(loaders)
    states = await settled(loaders.agent_state.load(row.agent_id) for row in rows)
    for state in states:
        if isinstance(state, AgentState) and (one := _attached_to(state, node_id)) is not None:
            return one
    for state in states:
        if isinstance(state, GatewayError) and state.reason is not Reason.STATE_MISSING:
            raise state  # the object may belong to this agent, which could not be read
    return None


def _attached_to(state: AgentState, node_id: str) -> MemoryBlockRecord | ToolRecord | None:
    block = next((block for block in state.blocks if block.id == node_id), None)
    return block or next((tool for tool in state.tools if tool.id == node_id), None)


async def model(row: Parent[OwnedAgent], info: Info) -> ModelRecord | None:
    """Return the agent's model, or ``None`` if the user cannot call the model."""
    state = await info.context.loaders.agent_state.load(row.agent_id)
    return await model_if_callable(info.context, state.model_name)


@loaded(_agent_state, key=_agent_id)
def model_name(state: AgentState) -> str | None:
    """Return the name of the agent's model, even if the user cannot call the model."""
    return state.model_name


def _template_id(row: OwnedAgent) -> str | None:
    return row.template_id or None


@loaded(lambda loaders: loaders.template, key=_template_id)
def template(record: TemplateRecord | None) -> TemplateRecord | None:
    """Return the template that the agent was created from."""
    return record


def owner(row: Parent[OwnedAgent], info: Info) -> Principal:  # noqa: ARG001 - only owners can read agents
    """Return the agent's owner."""
    return info.context.principal


@loaded(lambda loaders: loaders.agent_facts, key=_agent_id)
def variables(facts: AgentFacts | None) -> dict[str, Any] | None:
    """Return the agent's values for the template's variables, or ``None`` if AMS has no values."""
    return None if facts is None else facts.variables


def _upgrade_key(row: OwnedAgent, to: str | None = None) -> UpgradeKey:
    return UpgradeKey(row.agent_id, checks.version(to))


@loaded(lambda loaders: loaders.upgrade_plan, key=_upgrade_key)
def upgrade_plan(plan: UpgradePlan) -> UpgradePlan:
    """Return AMS's plan for upgrading the agent."""
    return plan


def conversation_of(row: Parent[OwnedAgent]) -> OwnedConversation:
    """Return the agent's default conversation."""
    return default_conversation(row.agent_id)
