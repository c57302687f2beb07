"""Agents: AMS's row, joined with Letta's state and LiteLLM's model."""

from __future__ import annotations

from typing import Any

import msgspec
from strawberry import Parent

from clients.ams import AgentRow, TemplateRecord, UpgradePlan
from clients.codes import Reason
from clients.errors import GatewayError
from clients.letta.client import is_letta_id
from clients.letta.records import AgentState, ConversationRecord, MemoryBlockRecord, ToolRecord
from clients.litellm import ModelRecord
from resolvers import checks
from resolvers.access import default_conversation, not_found
from resolvers.context import RequestContext
from resolvers.info import Info
from resolvers.loading import settled
from resolvers.models import model_if_callable
from resolvers.paging import Edge, Moment, Page, Window, decode_cursor, encode_cursor, moment, page
from resolvers.principal import Principal

_KINDS = {"block": "memory block", "tool": "tool"}


class _Place(msgspec.Struct, array_like=True):
    """A place in the list of agents; it holds even when the agent is deleted meanwhile."""

    created_at: Moment
    agent_id: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which agents are asked for: of a template, with a tag, with a text in the name. ``None`` is any."""

    template_slug: str | None = None
    tag: str | None = None
    search: str | None = None


async def agent_page(context: RequestContext, asked: Window, wanted: Wanted) -> Page[AgentRow]:
    """The principal's agents, newest first; those that are wanted."""
    place = None if asked.cursor is None else decode_cursor(asked.cursor, _Place)
    fitting = rows = sorted(await _rows(context, wanted), key=_newest_first)
    if place is not None:
        mark = (-place.created_at.timestamp(), place.agent_id)
        rows = [row for row in rows if (_newest_first(row) < mark if asked.backward else _newest_first(row) > mark)]
    chosen = rows[max(0, len(rows) - asked.size) :] if asked.backward else rows[: asked.size]
    edges = [_edge(row) for row in chosen]
    more, beyond = len(rows) > asked.size, len(rows) < len(fitting)
    return page(edges, asked, more=more, beyond=beyond, total=len(fitting))


async def _rows(context: RequestContext, wanted: Wanted) -> list[AgentRow]:
    tag, search = checks.tag(wanted.tag), checks.search(wanted.search)
    rows = (await context.access.profile()).agents
    if wanted.template_slug is not None:
        rows = [row for row in rows if row.template_id == wanted.template_slug]
    if not rows or (tag is None and search is None):
        return rows
    found = await context.loaders.agents_found.load((tag, search))
    rows = [row for row in rows if row.agent_id in found]
    for row in rows:
        context.loaders.agent_state.prime(row.agent_id, found[row.agent_id])
    return rows


async def agent_edge(context: RequestContext, agent_id: str) -> Edge[AgentRow]:
    """The principal's agent in its place in the list. Raises NotFound."""
    return _edge(await context.access.agent(agent_id))


def _edge(row: AgentRow) -> Edge[AgentRow]:
    return Edge(row, encode_cursor(_Place(moment(row.created_at), row.agent_id)))


def _newest_first(row: AgentRow) -> tuple[float, str]:
    return (-moment(row.created_at).timestamp(), row.agent_id)


async def _state(row: AgentRow, context: RequestContext) -> AgentState:
    return await context.loaders.agent_state.load(row.agent_id)


async def name(row: Parent[AgentRow], info: Info) -> str | None:
    """The agent's name, from Letta."""
    return (await _state(row, info.context)).name


async def description(row: Parent[AgentRow], info: Info) -> str | None:
    """What the agent is for, from Letta."""
    return (await _state(row, info.context)).description


async def tags(row: Parent[AgentRow], info: Info) -> list[str]:
    """The agent's tags in Letta, without those that the platform keeps for itself."""
    return [tag for tag in (await _state(row, info.context)).tags if not tag.startswith(checks.PLATFORM_TAG)]


async def tools(row: Parent[AgentRow], info: Info) -> list[ToolRecord]:
    """The tools attached to the agent."""
    return (await _state(row, info.context)).tools


async def memory_blocks(row: Parent[AgentRow], info: Info, labels: list[str] | None = None) -> list[MemoryBlockRecord]:
    """The agent's core memory, all of it or the blocks of some labels."""
    blocks = (await _state(row, info.context)).blocks
    return blocks if labels is None else [block for block in blocks if block.label in labels]


async def attached(context: RequestContext, node_id: str) -> MemoryBlockRecord | ToolRecord:
    """The memory block or tool of that id, as one of the principal's agents has it. Raises NotFound.

    It is looked for among what their agents have, so nothing of anybody else's is ever read.
    """
    kind = "block" if node_id.startswith("block") else "tool"
    if not is_letta_id(node_id, kind):
        raise not_found(_KINDS[kind])
    rows = (await context.access.profile()).agents
    states = await settled(_state(row, context) for row in rows)
    for state in states:
        if isinstance(state, AgentState) and (one := _attached_to(state, node_id)) is not None:
            return one
    for state in states:
        if isinstance(state, GatewayError) and state.reason is not Reason.STATE_MISSING:
            raise state  # what is asked for may be there
    raise not_found(_KINDS[kind])


def _attached_to(state: AgentState, node_id: str) -> MemoryBlockRecord | ToolRecord | None:
    block = next((block for block in state.blocks if block.id == node_id), None)
    return block or next((tool for tool in state.tools if tool.id == node_id), None)


async def model(row: Parent[AgentRow], info: Info) -> ModelRecord | None:
    """The model the agent thinks with, if the owner's key may call it."""
    return await model_if_callable(info.context, (await _state(row, info.context)).model_name)


async def model_name(row: Parent[AgentRow], info: Info) -> str | None:
    """The name of the model the agent thinks with, whoever may call it."""
    return (await _state(row, info.context)).model_name


async def template(row: Parent[AgentRow], info: Info) -> TemplateRecord | None:
    """The template the agent was made from."""
    return await info.context.loaders.template.load(row.template_id) if row.template_id else None


def owner(row: Parent[AgentRow], info: Info) -> Principal:  # noqa: ARG001 - whoever sees an agent owns it
    """Whose agent it is."""
    return info.context.principal


async def variables(row: Parent[AgentRow], info: Info) -> dict[str, Any] | None:
    """What the template's variables were filled with; ``None`` where AMS does not tell."""
    facts = await info.context.loaders.agent_facts.load(row.agent_id)
    return None if facts is None else facts.variables


async def upgrade_plan(row: Parent[AgentRow], info: Info, to: str | None = None) -> UpgradePlan:
    """What an upgrade would do."""
    return await info.context.loaders.upgrade_plan.load((row.agent_id, checks.version(to)))


def conversation_of(row: Parent[AgentRow]) -> ConversationRecord:
    """The agent's own conversation."""
    return default_conversation(row.agent_id)
