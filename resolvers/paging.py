"""Relay connections: pages, edges and cursors (GraphQL Cursor Connections Specification)."""

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput
from clients.timestamps import in_utc

DEFAULT_PAGE = 20
MAX_CURSOR = 1000
"""The maximum length of a cursor, in characters."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time in a cursor, with a time zone."""

MAX_PAGE = 100
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")
C = TypeVar("C")


class Edge(msgspec.Struct, Generic[T], frozen=True):
    """A node of a list. ``write`` returns the node's cursor, so that a cursor takes no time if it is not selected."""

    node: T
    write: Callable[[T], str]

    @property
    def cursor(self) -> str:
        """The node's cursor."""
        return self.write(self.node)


class PageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The first and last cursors of a page, and whether there are nodes before and after the page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a connection.

    Attributes:
        nodes: the page's nodes.
        write: returns a node's cursor.
        has_next_page: whether nodes follow the page.
        has_previous_page: whether nodes precede the page.
        total_count: the number of nodes on all pages, or ``None`` if the service does not report a count.
    """

    nodes: list[T]
    write: Callable[[T], str]
    has_next_page: bool
    has_previous_page: bool
    total_count: int | None = None

    @property
    def edges(self) -> list[Edge[T]]:
        """The page's nodes with their cursors."""
        return [Edge(node, self.write) for node in self.nodes]

    @property
    def page_info(self) -> PageInfo:
        """The page's first and last cursors, and its place in the list."""
        return PageInfo(
            has_next_page=self.has_next_page,
            has_previous_page=self.has_previous_page,
            start_cursor=self.write(self.nodes[0]) if self.nodes else None,
            end_cursor=self.write(self.nodes[-1]) if self.nodes else None,
        )


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The requested part of a list: ``size`` items after or before ``cursor``."""

    size: int
    backward: bool = False
    cursor: str | None = None


def window(
    first: int | None, after: str | None, last: int | None = None, before: str | None = None, *, newest: bool = False
) -> Window:
    """Convert a connection's arguments to a ``Window``. Raises BadUserInput.

    If ``newest`` is set, a connection without arguments returns the last items.
    """
    if first is not None and last is not None:
        raise BadUserInput("`first` and `last` are both set. Set only one of them.", reason=Reason.PAGING)
    if after is not None and before is not None:
        raise BadUserInput("`after` and `before` are both set. Set only one of them.", reason=Reason.PAGING)
    backward = last is not None or before is not None or (newest and first is None and after is None)
    if (backward and first is not None) or (last is not None and after is not None):
        raise BadUserInput(
            "`first` cannot be combined with `before`, and `last` cannot be combined with `after`. Omit one argument.",
            reason=Reason.PAGING,
        )
    size = last if last is not None else first
    if size is not None and not 0 <= size <= MAX_PAGE:
        raise BadUserInput(
            f"The page size is {size}: sizes from 0 to {MAX_PAGE} are allowed. Request further pages with a cursor.",
            reason=Reason.PAGING,
        )
    return Window(size=DEFAULT_PAGE if size is None else size, backward=backward, cursor=before if backward else after)


def page(
    nodes: list[T],
    write: Callable[[T], str],
    window: Window,
    *,
    more: bool,
    beyond: bool | None = None,
    total: int | None = None,
) -> Page[T]:
    """Create a page from its nodes and the function that returns a node's cursor.

    ``more`` says whether items follow in the direction of paging, and ``beyond`` whether items exist on the other side.
    By default, ``beyond`` is true if the window has a cursor.
    """
    behind = window.cursor is not None if beyond is None else beyond
    return Page(
        nodes=nodes,
        write=write,
        has_next_page=behind if window.backward else more,
        has_previous_page=more if window.backward else behind,
        total_count=total,
    )


def moment(time: datetime | None) -> datetime:
    """Return an item's time for sorting. An item without a time counts as the oldest item."""
    return _LONG_AGO if time is None else in_utc(time)


def encode_cursor(value: object) -> str:
    """Encode a small record as an opaque cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def decode_cursor(cursor: str, type_: type[C]) -> C:
    """Decode the record in a cursor. Raise BadUserInput if the cursor is invalid."""
    if len(cursor) > MAX_CURSOR:
        raise not_of_this_list()
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type_)
    except (binascii.Error, ValueError, RecursionError, msgspec.DecodeError) as error:
        raise not_of_this_list() from error


def not_of_this_list() -> BadUserInput:
    """Return the error for a cursor that does not belong to the list."""
    return BadUserInput("The cursor does not belong to this list. Omit the cursor.", reason=Reason.CURSOR)
