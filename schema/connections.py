"""Generic types for Relay's connections and edges (GraphQL Cursor Connections Specification)."""

from typing import Generic, TypeVar

import strawberry

from resolvers import paging
from schema.base import described, reads, shows

T = TypeVar("T")


@strawberry.federation.type(shareable=True, description="Pagination information of a connection (Relay).")
@reads(paging.PageInfo)
class PageInfo:
    has_next_page: bool = described("Whether more edges follow this page.")
    has_previous_page: bool = described("Whether edges precede this page.")
    start_cursor: str | None = described("The cursor of the page's first edge. Null if the page is empty.")
    end_cursor: str | None = described("The cursor of the page's last edge. Null if the page is empty.")


@shows("A node of a connection with its cursor.", paging.Edge)
class Edge(Generic[T]):
    node: T = described("The node.")
    cursor: str = described("The node's position in the list, for the argument `after`.")


@shows("A node of a connection with its cursor.", paging.Edge, name="Edge")
class TwoWayEdge(Edge[T]):
    """An edge of a connection that clients can page forwards and backwards."""

    cursor: str = described("The node's position in the list, for the arguments `after` and `before`.")


@strawberry.type
@reads(paging.Page)
class Connection(Generic[T]):
    edges: list[Edge[T]] = described("The page's nodes with their cursors.")
    nodes: list[T] = described("The page's nodes.")
    page_info: PageInfo = described("Pagination information.")


@strawberry.type
class TwoWayConnection(Connection[T]):
    """The base class of connections that clients can page forwards and backwards."""

    edges: list[TwoWayEdge[T]] = described("The page's nodes with their cursors.")  # type: ignore[assignment]


@strawberry.type
class CountedConnection(TwoWayConnection[T]):
    """The base class of connections for which the service reports the total number of items."""

    total_count: int | None = described("Number of nodes on all pages, after filtering.")
