"""Mutations of core and archival memory."""

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


@strawberry.input(description="The new value of a memory block.")
class UpdateMemoryBlockInput:
    """The input of ``updateMemoryBlock``."""

    block_id: ID = strawberry.field(description="The block's id.")
    value: str = strawberry.field(description="The new text. It replaces the whole value.")


@strawberry.input(description="A text to store in archival memory.")
class InsertPassageInput:
    """The input of ``insertPassage``."""

    agent_id: ID = strawberry.field(description="The agent's id.")
    text: str = strawberry.field(description="The text to store, at most 200,000 characters.")
    tags: list[str] | None = strawberry.field(
        default=None, description="Tags of the passage, at most 50 of at most 100 characters each."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Optional; 1 to 200 characters. A repeated request with the same key returns the first result.",
    )


@strawberry.input(description="The passage to delete.")
class DeletePassageInput:
    """The input of ``deletePassage``."""

    passage_id: ID = strawberry.field(description="The passage's id.")


class _Payload(PayloadRecord, kw_only=True):
    memory_block: MemoryBlockRecord | None = None
    passage_edges: list[Edge[PassageRecord]] = msgspec.field(default_factory=list)
    deleted_passage_id: str | None = None


@strawberry.type(description="The result of `updateMemoryBlock`.")
@reads(_Payload)
class UpdateMemoryBlockPayload(Payload):
    """Payload of ``updateMemoryBlock``."""

    memory_block: MemoryBlock | None = described("The updated block.")


@strawberry.type(description="The result of `insertPassage`.")
@reads(_Payload)
class InsertPassagePayload(Payload):
    """Payload of ``insertPassage``."""

    passage_edges: list[PassageEdge] = described(
        "The new passages as edges, newest first, for prepending to `passages`. Letta can split one "
        "text into several passages.",
        costs=[assumed(20)],
    )


@strawberry.type(description="The result of `deletePassage`.")
@reads(_Payload)
class DeletePassagePayload(Payload):
    """Payload of ``deletePassage``."""

    deleted_passage_id: ID | None = described("The id of the deleted passage.")


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
        _Payload, _update_memory_block, "Replaces the value of a memory block.", calls=3
    )
    insert_passage: InsertPassagePayload = done_by(
        _Payload, _insert_passage, "Stores a text in an agent's archival memory.", calls=2
    )
    delete_passage: DeletePassagePayload = done_by(
        _Payload, _delete_passage, "Deletes a passage. A repeated deletion is NOT_FOUND.", calls=4
    )
