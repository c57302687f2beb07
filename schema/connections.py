"""What every list that is read by pages has (Relay, GraphQL Cursor Connections Specification)."""

from __future__ import annotations

from typing import Generic, TypeVar

import strawberry

from resolvers import paging
from schema.base import described, reads

T = TypeVar("T")


@strawberry.federation.type(shareable=True, description="What lies on either side of a page.")
@reads(paging.PageInfo)
class PageInfo:
    """Relay's PageInfo."""

    has_next_page: bool = described("Whether the list goes on after this page.")
    has_previous_page: bool = described("Whether there is anything before this page.")
    start_cursor: str | None = described("The cursor of the first edge.")
    end_cursor: str | None = described("The cursor of the last edge.")


@strawberry.type(description="Something in its place in a list.")
@reads(paging.Edge)
class Edge(Generic[T]):
    """``AgentEdge`` and its like."""

    node: T = described("What stands there.")
    cursor: str = described("Its place in the list: page `after` it.")


@strawberry.type(name="Edge", description="Something in its place in a list.")
@reads(paging.Edge)
class TwoWayEdge(Edge[T]):
    """An edge of a list that is paged backwards too."""

    cursor: str = described("Its place in the list: page `after` it or `before` it.")


@strawberry.type
@reads(paging.Page)
class Connection(Generic[T]):
    """Base of ``ConversationConnection`` and its like, whose descriptions say their order."""

    edges: list[Edge[T]] = described("What is on the page, in its places.")
    nodes: list[T] = described("What is on the page.")
    page_info: PageInfo = described("What lies on either side of the page.")


@strawberry.type
class TwoWayConnection(Connection[T]):
    """Base of ``MessageConnection``: of lists that are paged backwards too."""

    edges: list[TwoWayEdge[T]] = described("What is on the page, in its places.")  # type: ignore[assignment]


@strawberry.type
class CountedConnection(TwoWayConnection[T]):
    """Base of ``AgentConnection``: of lists whose length the upstream can tell."""

    total_count: int | None = described("How many there are in all.")
