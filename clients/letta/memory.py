"""Calls for core memory (blocks) and archival memory (passages)."""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page
from clients.letta.records import MAX_PAGE, MemoryBlockRecord, MemoryHit, PassageRecord
from clients.owned import ClaimedBlockId, OwnedAgentId, OwnedBlockId, OwnedPassageId, Position
from clients.service import ServiceClient


class _Named(msgspec.Struct):
    id: str


class _Hit(msgspec.Struct):
    passage: PassageRecord
    score: float | None = None


_AGENTS = msgspec.json.Decoder(Page[_Named])
_BLOCK = msgspec.json.Decoder(MemoryBlockRecord)
_PASSAGES = msgspec.json.Decoder(Page[PassageRecord])
_HITS = msgspec.json.Decoder(Page[_Hit])


class MemoryCalls(ServiceClient):
    """The calls of ``Letta`` for memory blocks and passages."""

    async def block_agents(self, scope: CallScope, block_id: ClaimedBlockId) -> set[str]:
        """Read the ids of the agents that share a memory block. Raises NotFound."""
        found: set[str] = set()
        after: list[tuple[str, str]] = []
        while True:
            params = [("limit", str(MAX_PAGE)), *after]
            call = Call("block.agents", f"/v1/blocks/{block_id}/agents", params=params, subject=block_id)
            agents = [agent.id for agent in await self.read(scope, _AGENTS, call)]
            # Letta restarts the list after an unknown agent, so a page without a new agent is the end too
            if len(agents) < MAX_PAGE or found.issuperset(agents):
                return found.union(agents)
            found.update(agents)
            after = [("after", agents[-1])]

    async def update_block(self, scope: CallScope, block_id: OwnedBlockId, value: str) -> MemoryBlockRecord:
        """Write a memory block. Raises NotFound, and BadUserInput if the value is too long."""
        path = f"/v1/blocks/{block_id}"
        call = Call("block.update", path, "PATCH", json={"value": value}, subject=block_id)
        return await self.read(scope, _BLOCK, call)

    async def passages(
        self,
        scope: CallScope,
        agent_id: OwnedAgentId,
        *,
        limit: int,
        newest_first: bool,
        before: Position | None = None,
        after: Position | None = None,
    ) -> list[PassageRecord]:
        """Read a page of an agent's passages: those older than ``before`` and newer than ``after``, in both orders.

        For an unknown id the page is empty (Letta 0.16.8).
        """
        params = [("limit", str(limit)), ("ascending", "false" if newest_first else "true")]
        params += [("before", before)] if before else []
        params += [("after", after)] if after else []
        path = f"/v1/agents/{agent_id}/archival-memory"
        call = Call("passages", path, params=params, subject=agent_id)
        return [_of(agent_id, passage) for passage in await self.read(scope, _PASSAGES, call)]

    async def search_passages(
        self, scope: CallScope, agent_id: OwnedAgentId, query: str, limit: int
    ) -> list[MemoryHit]:
        """Search an agent's passages, best first.

        Letta 0.16.8 on Postgres reports the score 0 for every passage: then the hits have no score.
        """
        body = {"query": query, "agent_id": agent_id, "limit": limit}
        call = Call("passages.search", "/v1/passages/search", "POST", json=body, subject=agent_id, model_work=True)
        hits = await self.read(scope, _HITS, call)
        scored = any(hit.score for hit in hits)
        return [MemoryHit(passage=_of(agent_id, hit.passage), score=hit.score if scored else None) for hit in hits]

    async def insert_passage(
        self, scope: CallScope, agent_id: OwnedAgentId, text: str, tags: list[str] | None
    ) -> list[PassageRecord]:
        """Store a text in an agent's archival memory. Letta can split it into several passages."""
        call = Call(
            "passage.insert",
            f"/v1/agents/{agent_id}/archival-memory",
            "POST",
            json={"text": text} | ({"tags": tags} if tags else {}),
            subject=agent_id,
            model_work=True,
        )
        return [_of(agent_id, passage) for passage in await self.read(scope, _PASSAGES, call)]

    async def delete_passage(self, scope: CallScope, agent_id: OwnedAgentId, passage_id: OwnedPassageId) -> None:
        """Delete a passage. Raises NotFound. Letta 0.16.8 does not check that the passage is that agent's."""
        path = f"/v1/agents/{agent_id}/archival-memory/{passage_id}"
        call = Call("passage.delete", path, "DELETE", subject=agent_id)
        await self.write(scope, call)


def _of(agent_id: OwnedAgentId, passage: PassageRecord) -> PassageRecord:
    passage.agent_id = agent_id
    return passage
