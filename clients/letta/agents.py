"""Agents."""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.letta.records import AgentState
from clients.letta.wire import Wire

_AGENT = msgspec.json.Decoder(AgentState)
_AGENTS = msgspec.json.Decoder(list[AgentState])
_INCLUDES = [("include", "agent.blocks"), ("include", "agent.tools"), ("include", "agent.tags")]


class AgentCalls(Wire):
    """Part of ``Letta``."""

    async def agent(self, scope: CallScope, agent_id: str) -> AgentState:
        """One agent's state, with blocks, tools and tags. Raises NotFound."""
        call = Call(operation="agent", path=f"/v1/agents/{agent_id}", params=_INCLUDES)
        return await self.read(scope, _AGENT, call)

    async def agents_by_tag(
        self, scope: CallScope, tag: str, *, limit: int, after: str | None = None
    ) -> list[AgentState]:
        """A page of agents that carry a tag, newest first; an unknown ``after`` is ignored by Letta."""
        params = [("tags", tag), ("limit", str(limit)), ("order", "desc"), *_INCLUDES]
        if after is not None:
            params.append(("after", after))
        return await self.read(scope, _AGENTS, Call(operation="agents", path="/v1/agents/", params=params))
