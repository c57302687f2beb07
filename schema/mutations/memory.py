"""Mutations of core and archival memory."""

import msgspec
import strawberry
from strawberry import ID

from clients.letta.records import MemoryBlockRecord, PassageRecord
from resolvers import memory, passages
from resolvers.info import Info
from resolvers.paging import Edge
from schema.access import SIGNED_IN
from schema.agent import MemoryBlock
from schema.base import described, optional
from schema.costs import assumed
from schema.inputs import OPTIONAL_KEY
from schema.outcomes import Payload, PayloadRecord, done_by, payload
from schema.passage import PassageEdge


@strawberry.input(description="The new value of a memory block.")
class UpdateMemoryBlockInput:
    block_id: ID = described("The block's id.")
    value: str = described("The new text, which replaces the block's whole value.")


@strawberry.input(description="A text to store in an agent's archival memory.")
class InsertPassageInput:
    agent_id: ID = described("The agent's id.")
    text: str = described("The text to store, at most 200,000 characters.")
    tags: list[str] | None = optional("The tags of the passage: at most 50 tags of at most 100 characters each.")
    idempotency_key: str | None = optional(OPTIONAL_KEY)


@strawberry.input(description="The passage to delete.")
class DeletePassageInput:
    passage_id: ID = described("The passage's id.")


class _Payload(PayloadRecord, kw_only=True):
    memory_block: MemoryBlockRecord | None = None
    passage_edges: list[Edge[PassageRecord]] = msgspec.field(default_factory=list)
    deleted_passage_id: str | None = None


@payload(_Payload)
class UpdateMemoryBlockPayload(Payload):
    memory_block: MemoryBlock | None = described("The updated block.")


@payload(_Payload)
class InsertPassagePayload(Payload):
    passage_edges: list[PassageEdge] = described(
        "The new passages as edges, newest first. Clients can add the edges at the start of `passages`. Letta can "
        "split one text into "
        "several passages.",
        costs=[assumed(20)],
    )


@payload(_Payload)
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
        _Payload, _update_memory_block, "Replaces the value of a memory block.", access=SIGNED_IN, calls=3
    )
    insert_passage: InsertPassagePayload = done_by(
        _Payload, _insert_passage, "Stores a text in an agent's archival memory.", access=SIGNED_IN, calls=2
    )
    delete_passage: DeletePassagePayload = done_by(
        _Payload,
        _delete_passage,
        "Deletes a passage. A second deletion fails with NOT_FOUND.",
        access=SIGNED_IN,
        calls=4,
    )
