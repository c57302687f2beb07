"""Writes core memory."""

from clients.letta.records import MemoryBlockRecord
from resolvers.context import RequestContext


async def write(context: RequestContext, block_id: str, value: str) -> MemoryBlockRecord:
    """Write a memory block. Raise NotFound unless the user owns every agent that has the block."""
    owned = await context.access.block(block_id)
    return await context.resources.letta.update_block(context.scope, owned, value)
