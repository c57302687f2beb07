"""Reads and changes agents' memory in Letta: memory blocks and archival passages."""

import msgspec

from clients.calls import Call, CallScope, query_params
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
    """Reads and changes agents' memory in Letta. The methods raise NotFound for an unknown block or passage."""

    async def block_agents(self, scope: CallScope, block_id: ClaimedBlockId) -> set[str]:
        """Read the ids of all agents that have a memory block."""
        found: set[str] = set()
        after: list[tuple[str, str]] = []
        while True:
            params = [("limit", str(MAX_PAGE)), *after]
            call = Call("block.agents", f"/v1/blocks/{block_id}/agents", params=params, subject=block_id)
            agents = [agent.id for agent in await self.read(scope, _AGENTS, call)]
            # if the last agent was deleted, Letta restarts the list, so a page without a new agent is also the end
            if len(agents) < MAX_PAGE or found.issuperset(agents):
                return found.union(agents)
            found.update(agents)
            after = [("after", agents[-1])]

    async def update_block(self, scope: CallScope, block_id: OwnedBlockId, value: str) -> MemoryBlockRecord:
        """Replace the text of a memory block. Raises BadUserInput if the text is too long."""
        call = Call("block.update", f"/v1/blocks/{block_id}", "PATCH", json={"value": value}, subject=block_id)
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
        """Read a page of an agent's archival passages.

        The passages are older than ``before`` and newer than ``after``. Letta 0.16.8 returns an empty page if an id is
        unknown.
        """
        ascending = "false" if newest_first else "true"
        params = query_params(limit=limit, ascending=ascending, before=before, after=after)
        call = Call("passages", f"/v1/agents/{agent_id}/archival-memory", params=params, subject=agent_id)
        return [_of(agent_id, passage) for passage in await self.read(scope, _PASSAGES, call)]

    async def search_passages(
        self, scope: CallScope, agent_id: OwnedAgentId, query: str, limit: int
    ) -> list[MemoryHit]:
        """Search an agent's archival passages. The best match comes first.

        Letta 0.16.8 on Postgres reports the score 0 for every passage. In this case, the hits have no score.
        """
        body = {"query": query, "agent_id": agent_id, "limit": limit}
        call = Call("passages.search", "/v1/passages/search", "POST", json=body, subject=agent_id, model_work=True)
        hits = await self.read(scope, _HITS, call)
        scored = any(hit.score for hit in hits)
        return [MemoryHit(passage=_of(agent_id, hit.passage), score=hit.score if scored else None) for hit in hits]

    async def insert_passage(
        self, scope: CallScope, agent_id: OwnedAgentId, text: str, tags: list[str] | None
    ) -> list[PassageRecord]:
        """Store a text in an agent's archival memory. Letta can split the text into several passages."""
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
        """Delete a passage from an agent's archival memory.

        Letta 0.16.8 does not check that the passage belongs to ``agent_id``.
        """
        path = f"/v1/agents/{agent_id}/archival-memory/{passage_id}"
        await self.write(scope, Call("passage.delete", path, "DELETE", subject=agent_id))


def _of(agent_id: OwnedAgentId, passage: PassageRecord) -> PassageRecord:
    return msgspec.structs.replace(passage, agent_id=agent_id)
