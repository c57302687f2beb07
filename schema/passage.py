"""Archival memory."""

from __future__ import annotations

from datetime import datetime

import strawberry

from clients.letta import records
from schema.base import described, entity, reads
from schema.connections import Connection, Edge
from schema.node import Node


@entity(description="A text in an agent's archival memory. The agent reads it only through a search.")
@reads(records.PassageRecord)
class Passage(Node):
    text: str = described("The passage's text.")
    tags: list[str] = described("The passage's tags.")
    created_at: datetime | None = described("When the passage was stored.")


@strawberry.type(description="A page of passages, newest first.")
class PassageConnection(Connection[Passage]):
    """Relay connection."""


PassageEdge = Edge[Passage]


@strawberry.type(description="A result of `searchMemory`.")
@reads(records.MemoryHit)
class MemoryHit:
    passage: Passage = described("The passage.")
    score: float | None = described(
        "Similarity to the query: higher is closer. Comparable only within one search. Null if Letta returns no scores."
    )
