"""The GraphQL types for archival memory."""

from datetime import datetime

from clients.letta import records
from schema.base import described, entity, object_type, shows
from schema.connections import Connection, Edge
from schema.node import Node


@entity("A text in an agent's archival memory. The agent finds passages only by search.", records.PassageRecord)
class Passage(Node):
    text: str = described("The passage's text.")
    tags: list[str] = described("The passage's tags.")
    created_at: datetime | None = described("When the passage was stored.")


@object_type("A page of passages, newest first.")
class PassageConnection(Connection[Passage]):
    """A Relay connection of passages."""


PassageEdge = Edge[Passage]


@shows("A result of `searchMemory`.", records.MemoryHit)
class MemoryHit:
    passage: Passage = described("The passage that was found.")
    score: float | None = described(
        "Similarity to the query: a higher score is a closer match. Scores of different searches are not comparable. "
        "Null if Letta returns no scores."
    )
