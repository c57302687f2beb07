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
from schema.base import described, optional, reads
from schema.costs import assumed
from schema.inputs import OPTIONAL_KEY
from schema.outcomes import Payload, PayloadRecord, done_by
from schema.passage import PassageEdge


@strawberry.input(description="The new value of a memory block.")
class UpdateMemoryBlockInput:
    block_id: ID = described("The block's id.")
    value: str = described("The new text. It replaces the whole value.")


@strawberry.input(description="A text to store in archival memory.")
class InsertPassageInput:
    agent_id: ID = described("The agent's id.")
    text: str = described("The text to store, at most 200,000 characters.")
    tags: list[str] | None = optional("Tags of the passage, at most 50 of at most 100 characters each.")
    idempotency_key: str | None = optional(OPTIONAL_KEY)


@strawberry.input(description="The passage to delete.")
class DeletePassageInput:
    passage_id: ID = described("The passage's id.")


class _Payload(PayloadRecord, kw_only=True):
    memory_block: MemoryBlockRecord | None = None
    passage_edges: list[Edge[PassageRecord]] = msgspec.field(default_factory=list)
    deleted_passage_id: str | None = None


@strawberry.type(description="The result of `updateMemoryBlock`.")
@reads(_Payload)
class UpdateMemoryBlockPayload(Payload):
    memory_block: MemoryBlock | None = described("The updated block.")


@strawberry.type(description="The result of `insertPassage`.")
@reads(_Payload)
class InsertPassagePayload(Payload):
    passage_edges: list[PassageEdge] = described(
        "The new passages as edges, newest first, for prepending to `passages`. Letta can split one "
        "text into several passages.",
        costs=[assumed(20)],
    )


@strawberry.type(description="The result of `deletePassage`.")
@reads(_Payload)
class DeletePassagePayload(Payload):
    deleted_passage_id: ID | None = described("The id of the deleted passage.")


async def _update_memory_block(info: Info, input: UpdateMemoryBlockInput) -> _Payload:
    return _Payload(memory_block=await memory.write(info.context, input.block_id, input.value))


async def _insert_passage(info: Info, input: InsertPassageInput) -> _Payload:
    edges = await passages.insert(info.context, input.agent_id, input.text, input.tags, input.idempotency_key)
    return _Payload(passage_edges=edges)


async def _delete_passage(info: Info, input: DeletePassageInput) -> _Payload:
    return _Payload(deleted_passage_id=await passages.delete(info.context, input.passage_id))


@strawberry.type
class MemoryMutations:
    update_memory_block: UpdateMemoryBlockPayload = done_by(
        _Payload, _update_memory_block, "Replaces the value of a memory block.", calls=3
    )
    insert_passage: InsertPassagePayload = done_by(
        _Payload, _insert_passage, "Stores a text in an agent's archival memory.", calls=2
    )
    delete_passage: DeletePassagePayload = done_by(
        _Payload, _delete_passage, "Deletes a passage. A repeated deletion is NOT_FOUND.", calls=4
    )
