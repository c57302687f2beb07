"""Agents."""

from __future__ import annotations

from typing import Any

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page
from clients.letta.records import AgentState, AgentToChange
from clients.service import ServiceClient

_AGENT = msgspec.json.Decoder(AgentState)
_AGENTS = msgspec.json.Decoder(Page[AgentState])
_TO_CHANGE = msgspec.json.Decoder(AgentToChange)
_INCLUDES = [("include", "agent.blocks"), ("include", "agent.tools"), ("include", "agent.tags")]


class AgentCalls(ServiceClient):
    """Part of ``Letta``."""

    async def agent(self, scope: CallScope, agent_id: str) -> AgentState:
        """One agent's state, with blocks, tools and tags. Raises NotFound."""
        call = Call(operation="agent", path=f"/v1/agents/{agent_id}", params=_INCLUDES, subject=agent_id)
        return await self.read(scope, _AGENT, call)

    async def agents_by_tag(
        self, scope: CallScope, tag: str, *, limit: int, after: str | None = None
    ) -> list[AgentState]:
        """A page of agents that carry a tag, newest first; an unknown ``after`` is ignored by Letta."""
        params = [("tags", tag), ("limit", str(limit)), ("order", "desc"), *_INCLUDES]
        if after is not None:
            params.append(("after", after))
        return await self.read(scope, _AGENTS, Call(operation="agents", path="/v1/agents/", params=params))

    async def search_agents(
        self, scope: CallScope, tags: list[str], *, search: str | None, limit: int, after: str | None = None
    ) -> list[AgentState]:
        """A page of agents that carry all of some tags, newest first, and whose names match a search.

        Letta takes ``%`` and ``_`` of a search for wildcards, so that it can find more than was meant.
        """
        params = [*(("tags", tag) for tag in tags), ("match_all_tags", "true")]
        params += [("limit", str(limit)), ("order", "desc"), *_INCLUDES]
        params += [("query_text", search)] if search else []
        params += [("after", after)] if after else []
        return await self.read(scope, _AGENTS, Call(operation="agents.search", path="/v1/agents/", params=params))

    async def agent_to_change(self, scope: CallScope, agent_id: str) -> AgentToChange:
        """What a change of an agent starts from. Raises NotFound."""
        call = Call(
            operation="agent", path=f"/v1/agents/{agent_id}", params=[("include", "agent.tags")], subject=agent_id
        )
        return await self.read(scope, _TO_CHANGE, call)

    async def update_agent(self, scope: CallScope, agent_id: str, changes: dict[str, Any]) -> None:
        """Change an agent; ``changes`` are fields of Letta's. Raises NotFound."""
        path = f"/v1/agents/{agent_id}"
        call = Call(operation="agent.update", method="PATCH", path=path, json=changes, subject=agent_id)
        await self.tell(scope, call)

    async def delete_agent(self, scope: CallScope, agent_id: str) -> None:
        """Delete an agent with all that was said to it. Raises NotFound."""
        path = f"/v1/agents/{agent_id}"
        await self.tell(scope, Call(operation="agent.delete", method="DELETE", path=path, subject=agent_id))
