"""Memory: core and archival."""

from __future__ import annotations

import msgspec
import strawberry
from strawberry import ID

from clients.letta.records import MemoryBlockRecord, PassageRecord
from resolvers import memory, passages
from resolvers.info import Info
from resolvers.paging import Edge
from schema.agent import MemoryBlock
from schema.base import described, reads
from schema.costs import assumed
from schema.outcomes import Payload, PayloadRecord, done_by
from schema.passage import PassageEdge


@strawberry.input(description="What is to stand in a memory block.")
class UpdateMemoryBlockInput:
    """What writes core memory."""

    block_id: ID = strawberry.field(description="The block.")
    value: str = strawberry.field(description="All that is to stand in it.")


@strawberry.input(description="A text to keep.")
class InsertPassageInput:
    """What adds to archival memory."""

    agent_id: ID = strawberry.field(description="The agent that is to remember it.")
    text: str = strawberry.field(description="The text.")
    tags: list[str] | None = strawberry.field(default=None, description="What to file it under.")
    idempotency_key: str | None = strawberry.field(default=None, description="With the same key, the same answer.")


@strawberry.input(description="A passage to forget.")
class DeletePassageInput:
    """What takes from archival memory."""

    passage_id: ID = strawberry.field(description="The passage.")


class _Payload(PayloadRecord, kw_only=True):
    memory_block: MemoryBlockRecord | None = None
    passage_edges: list[Edge[PassageRecord]] = msgspec.field(default_factory=list)
    deleted_passage_id: str | None = None


@strawberry.type(description="A memory block was written.")
@reads(_Payload)
class UpdateMemoryBlockPayload(Payload):
    """Payload of ``updateMemoryBlock``."""

    memory_block: MemoryBlock | None = described("The block as it is now.")


@strawberry.type(description="A text was kept.")
@reads(_Payload)
class InsertPassagePayload(Payload):
    """Payload of ``insertPassage``."""

    passage_edges: list[PassageEdge] = described(
        "All that was kept, newest first, for the front of `passages`: Letta may cut a text into several passages.",
        costs=[assumed(20)],
    )


@strawberry.type(description="A passage was forgotten.")
@reads(_Payload)
class DeletePassagePayload(Payload):
    """Payload of ``deletePassage``."""

    deleted_passage_id: ID | None = described("The id it had, for taking it out of `passages`.")


async def _update_memory_block(info: Info, input: UpdateMemoryBlockInput) -> _Payload:  # noqa: A002 - the name in the graph
    return _Payload(memory_block=await memory.write(info.context, input.block_id, input.value))


async def _insert_passage(info: Info, input: InsertPassageInput) -> _Payload:  # noqa: A002 - the name in the graph
    edges = await passages.insert(info.context, input.agent_id, input.text, input.tags, input.idempotency_key)
    return _Payload(passage_edges=edges)


async def _delete_passage(info: Info, input: DeletePassageInput) -> _Payload:  # noqa: A002 - the name in the graph
    return _Payload(deleted_passage_id=await passages.delete(info.context, input.passage_id))


@strawberry.type
class MemoryMutations:
    """Part of the root of mutations."""

    update_memory_block: UpdateMemoryBlockPayload = done_by(
        _Payload, _update_memory_block, "Write a memory block of your agents.", calls=3
    )
    insert_passage: InsertPassagePayload = done_by(
        _Payload, _insert_passage, "Keep a text in the archival memory of one of your agents.", calls=2
    )
    delete_passage: DeletePassagePayload = done_by(
        _Payload, _delete_passage, "Forget a passage. One that is gone already is NOT_FOUND.", calls=4
    )
