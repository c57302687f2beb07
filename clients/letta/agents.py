"""Calls for agents."""

from __future__ import annotations

from typing import Any

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page
from clients.letta.records import AgentState, AgentToChange
from clients.owned import OwnedAgentId, Position
from clients.service import ServiceClient

_AGENT = msgspec.json.Decoder(AgentState)
_AGENTS = msgspec.json.Decoder(Page[AgentState])
_TO_CHANGE = msgspec.json.Decoder(AgentToChange)
_INCLUDES = [("include", "agent.blocks"), ("include", "agent.tools"), ("include", "agent.tags")]


class AgentCalls(ServiceClient):
    """The calls of ``Letta`` for agents."""

    async def agent(self, scope: CallScope, agent_id: OwnedAgentId) -> AgentState:
        """Read an agent's state, with blocks, tools and tags. Raises NotFound."""
        call = Call("agent", f"/v1/agents/{agent_id}", params=_INCLUDES, subject=agent_id)
        return await self.read(scope, _AGENT, call)

    async def agents_by_tag(
        self, scope: CallScope, tag: str, *, limit: int, after: Position | None = None
    ) -> list[AgentState]:
        """Read a page of the agents with a tag, newest first. Letta ignores an unknown ``after``."""
        params = [("tags", tag), ("limit", str(limit)), ("order", "desc"), *_INCLUDES]
        if after is not None:
            params.append(("after", after))
        return await self.read(scope, _AGENTS, Call("agents", "/v1/agents/", params=params))

    async def search_agents(
        self, scope: CallScope, tags: list[str], *, search: str | None, limit: int, after: Position | None = None
    ) -> list[AgentState]:
        """Read a page of the agents that have all tags and whose names match a search, newest first.

        In ``search``, Letta takes ``%`` and ``_`` for wildcards, so it can return other agents too.
        """
        params = [*(("tags", tag) for tag in tags), ("match_all_tags", "true")]
        params += [("limit", str(limit)), ("order", "desc"), *_INCLUDES]
        params += [("query_text", search)] if search else []
        params += [("after", after)] if after else []
        return await self.read(scope, _AGENTS, Call("agents.search", "/v1/agents/", params=params))

    async def agent_to_change(self, scope: CallScope, agent_id: OwnedAgentId) -> AgentToChange:
        """Read the parts of an agent that a change needs. Raises NotFound."""
        call = Call("agent", f"/v1/agents/{agent_id}", params=[("include", "agent.tags")], subject=agent_id)
        return await self.read(scope, _TO_CHANGE, call)

    async def update_agent(self, scope: CallScope, agent_id: OwnedAgentId, changes: dict[str, Any]) -> None:
        """Change fields of an agent. Raises NotFound."""
        path = f"/v1/agents/{agent_id}"
        call = Call("agent.update", path, "PATCH", json=changes, subject=agent_id)
        await self.write(scope, call)

    async def delete_agent(self, scope: CallScope, agent_id: OwnedAgentId) -> None:
        """Delete an agent and its messages. Raises NotFound."""
        path = f"/v1/agents/{agent_id}"
        await self.write(scope, Call("agent.delete", path, "DELETE", subject=agent_id))
