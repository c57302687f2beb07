"""Memory: core (blocks) and archival (passages)."""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.decode import Page
from clients.letta.records import MAX_PAGE, MemoryBlockRecord, MemoryHit, PassageRecord
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
    """Part of ``Letta``."""

    async def block_agents(self, scope: CallScope, block_id: str) -> set[str]:
        """The ids of all the agents that a memory block is attached to: several may share it. Raises NotFound."""
        found: set[str] = set()
        after: list[tuple[str, str]] = []
        while True:
            params = [("limit", str(MAX_PAGE)), *after]
            call = Call(operation="block.agents", path=f"/v1/blocks/{block_id}/agents", params=params, subject=block_id)
            agents = [agent.id for agent in await self.read(scope, _AGENTS, call)]
            # Letta begins anew after an agent that it does not know: nothing new is the end as well
            if len(agents) < MAX_PAGE or found.issuperset(agents):
                return found.union(agents)
            found.update(agents)
            after = [("after", agents[-1])]

    async def update_block(self, scope: CallScope, block_id: str, value: str) -> MemoryBlockRecord:
        """Write a memory block. Raises NotFound, and BadUserInput where it does not fit."""
        path = f"/v1/blocks/{block_id}"
        call = Call(operation="block.update", method="PATCH", path=path, json={"value": value}, subject=block_id)
        return await self.read(scope, _BLOCK, call)

    async def passages(
        self,
        scope: CallScope,
        agent_id: str,
        *,
        limit: int,
        newest_first: bool,
        before: str | None = None,
        after: str | None = None,
    ) -> list[PassageRecord]:
        """A page of an agent's passages.

        ``before`` is the id of a passage that those asked for are older than, ``after`` of one that they are newer
        than, in both orders; beyond an id that Letta does not know there is nothing (tried on 0.16.8).
        """
        params = [("limit", str(limit)), ("ascending", "false" if newest_first else "true")]
        params += [("before", before)] if before else []
        params += [("after", after)] if after else []
        path = f"/v1/agents/{agent_id}/archival-memory"
        call = Call(operation="passages", path=path, params=params, subject=agent_id)
        return [_of(agent_id, passage) for passage in await self.read(scope, _PASSAGES, call)]

    async def search_passages(self, scope: CallScope, agent_id: str, query: str, limit: int) -> list[MemoryHit]:
        """The passages of an agent that are nearest to a query, best first.

        The agent's own search tells no score; this one does, where Letta's store of vectors has one. 0.16.8 on
        Postgres ranks, and says 0 of every passage: that is no score.
        """
        asked = {"query": query, "agent_id": agent_id, "limit": limit}
        call = Call(
            operation="passages.search",
            method="POST",
            path="/v1/passages/search",
            json=asked,
            subject=agent_id,
            model_work=True,
        )
        hits = await self.read(scope, _HITS, call)
        scored = any(hit.score for hit in hits)
        return [MemoryHit(passage=_of(agent_id, hit.passage), score=hit.score if scored else None) for hit in hits]

    async def insert_passage(
        self, scope: CallScope, agent_id: str, text: str, tags: list[str] | None
    ) -> list[PassageRecord]:
        """Keep a text in an agent's archival memory. Letta answers a list, and may cut a text into several."""
        call = Call(
            operation="passage.insert",
            method="POST",
            path=f"/v1/agents/{agent_id}/archival-memory",
            json={"text": text} | ({"tags": tags} if tags else {}),
            subject=agent_id,
            model_work=True,
        )
        return [_of(agent_id, passage) for passage in await self.read(scope, _PASSAGES, call)]

    async def delete_passage(self, scope: CallScope, passage: PassageRecord) -> None:
        """Forget a passage. Raises NotFound.

        Letta asks nobody whether the passage is that agent's (tried on 0.16.8): whoever calls this has read it there.
        """
        path = f"/v1/agents/{passage.agent_id}/archival-memory/{passage.id}"
        call = Call(operation="passage.delete", method="DELETE", path=path, subject=passage.agent_id)
        await self.tell(scope, call)


def _of(agent_id: str, passage: PassageRecord) -> PassageRecord:
    passage.agent_id = agent_id
    return passage
