"""Memory: core and archival."""

from __future__ import annotations

import strawberry
from strawberry import ID

from clients.letta.records import MemoryBlockRecord
from resolvers import memory
from resolvers.info import Info
from schema.agent import MemoryBlock
from schema.base import described, reads
from schema.outcomes import Payload, PayloadRecord, done_by


@strawberry.input(description="What is to stand in a memory block.")
class UpdateMemoryBlockInput:
    """What writes core memory."""

    block_id: ID = strawberry.field(description="The block.")
    value: str = strawberry.field(description="All that is to stand in it.")


class _Payload(PayloadRecord, kw_only=True):
    memory_block: MemoryBlockRecord | None = None


@strawberry.type(description="A memory block was written.")
@reads(_Payload)
class UpdateMemoryBlockPayload(Payload):
    """Payload of ``updateMemoryBlock``."""

    memory_block: MemoryBlock | None = described("The block as it is now.")


async def _update_memory_block(info: Info, input: UpdateMemoryBlockInput) -> _Payload:  # noqa: A002 - the name in the graph
    return _Payload(memory_block=await memory.write(info.context, input.block_id, input.value))


@strawberry.type
class MemoryMutations:
    """Part of the root of mutations."""

    update_memory_block: UpdateMemoryBlockPayload = done_by(
        _Payload, _update_memory_block, "Write a memory block of your agents."
    )
