"""Reads and changes agents in Letta."""

from typing import Any

import msgspec

from clients.calls import Call, CallScope, query_params
from clients.decode import Page
from clients.letta.records import AgentState, AgentToChange
from clients.owned import OwnedAgentId, Position
from clients.service import ServiceClient

_AGENT = msgspec.json.Decoder(AgentState)
_AGENTS = msgspec.json.Decoder(Page[AgentState])
_TO_CHANGE = msgspec.json.Decoder(AgentToChange)
_INCLUDES = [("include", "agent.blocks"), ("include", "agent.tools"), ("include", "agent.tags")]


class AgentCalls(ServiceClient):
    """Reads and changes agents in Letta. The methods raise NotFound for an unknown agent."""

    async def agent(self, scope: CallScope, agent_id: OwnedAgentId) -> AgentState:
        """Read an agent with its memory blocks, tools and tags."""
        call = Call("agent", f"/v1/agents/{agent_id}", params=_INCLUDES, subject=agent_id)
        return await self.read(scope, _AGENT, call)

    async def agents_by_tag(
        self, scope: CallScope, tag: str, *, limit: int, after: Position | None = None
    ) -> list[AgentState]:
        """Read a page of the agents that have a tag, newest first. Letta ignores an unknown id in ``after``."""
        params = [*query_params(tags=tag, limit=limit, order="desc", after=after), *_INCLUDES]
        return await self.read(scope, _AGENTS, Call("agents", "/v1/agents/", params=params))

    async def search_agents(
        self, scope: CallScope, tags: list[str], *, search: str | None, limit: int, after: Position | None = None
    ) -> list[AgentState]:
        """Read a page of the agents that match a search, newest first.

        Each agent has all ``tags``, and a name that contains ``search``. Letta treats ``%`` and ``_`` in ``search`` as
        wildcards, so the page can have agents with other names.
        """
        params = [*(("tags", tag) for tag in tags), ("match_all_tags", "true"), *_INCLUDES]
        params += query_params(limit=limit, order="desc", query_text=search, after=after)
        return await self.read(scope, _AGENTS, Call("agents.search", "/v1/agents/", params=params))

    async def agent_to_change(self, scope: CallScope, agent_id: OwnedAgentId) -> AgentToChange:
        """Read an agent's tags and model configuration."""
        call = Call("agent", f"/v1/agents/{agent_id}", params=[("include", "agent.tags")], subject=agent_id)
        return await self.read(scope, _TO_CHANGE, call)

    async def update_agent(self, scope: CallScope, agent_id: OwnedAgentId, changes: dict[str, Any]) -> None:
        """Change an agent's fields."""
        call = Call("agent.update", f"/v1/agents/{agent_id}", "PATCH", json=changes, subject=agent_id)
        await self.write(scope, call)

    async def delete_agent(self, scope: CallScope, agent_id: OwnedAgentId) -> None:
        """Delete an agent and the agent's messages."""
        await self.write(scope, Call("agent.delete", f"/v1/agents/{agent_id}", "DELETE", subject=agent_id))
