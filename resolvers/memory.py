"""Core memory."""

from __future__ import annotations

from clients.letta.records import MemoryBlockRecord
from resolvers.context import RequestContext


async def write(context: RequestContext, block_id: str, value: str) -> MemoryBlockRecord:
    """Write a memory block that only agents of the user's have. Raises NotFound."""
    owned = await context.access.block(block_id)
    return await context.resources.letta.update_block(context.scope, owned, value)
