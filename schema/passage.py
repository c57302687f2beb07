"""Archival memory."""

from __future__ import annotations

from datetime import datetime

import strawberry

from clients.letta import records
from schema.base import described, entity, reads
from schema.connections import Connection, Edge
from schema.node import Node


@entity(description="A passage of archival memory: what an agent does not see unless it searches.")
@reads(records.PassageRecord)
class Passage(Node):
    """The GraphQL face of PassageRecord."""

    text: str = described("What is kept.")
    tags: list[str] = described("What it is filed under.")
    created_at: datetime | None = described("When it was kept.")


@strawberry.type(description="A page of passages, newest first.")
class PassageConnection(Connection[Passage]):
    """Relay connection."""


PassageEdge = Edge[Passage]


@strawberry.type(description="A passage that a search found.")
@reads(records.MemoryHit)
class MemoryHit:
    """The GraphQL face of MemoryHit."""

    passage: Passage = described("The passage.")
    score: float | None = described(
        "How near it is, higher is nearer, for comparing hits of one search; null where Letta ranks without telling."
    )
