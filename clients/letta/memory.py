"""Memory: core (blocks)."""

from __future__ import annotations

import msgspec

from clients.calls import Call, CallScope
from clients.letta.records import AgentState, MemoryBlockRecord
from clients.letta.wire import Wire

_AGENTS = msgspec.json.Decoder(list[AgentState])
_BLOCK = msgspec.json.Decoder(MemoryBlockRecord)


class MemoryCalls(Wire):
    """Part of ``Letta``."""

    async def block_agents(self, scope: CallScope, block_id: str) -> list[AgentState]:
        """The agents that a memory block is attached to: several may share it. Raises NotFound."""
        return await self.read(scope, _AGENTS, Call(operation="block.agents", path=f"/v1/blocks/{block_id}/agents"))

    async def update_block(self, scope: CallScope, block_id: str, value: str) -> MemoryBlockRecord:
        """Write a memory block. Raises NotFound, and BadUserInput where it does not fit."""
        call = Call(operation="block.update", method="PATCH", path=f"/v1/blocks/{block_id}", json={"value": value})
        return await self.read(scope, _BLOCK, call)
