"""Relay connections (GraphQL Cursor Connections Specification) over records."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

import msgspec

from clients.codes import Reason
from clients.errors import BadUserInput
from clients.timestamps import in_utc

DEFAULT_PAGE = 20
MAX_CURSOR = 1000
"""The most characters of a cursor. The gateway's own are much shorter."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time in a cursor, with a time zone."""

MAX_PAGE = 100
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")
C = TypeVar("C")


class Edge(msgspec.Struct, Generic[T], frozen=True):
    """A node of a list, and its cursor."""

    node: T
    cursor: str


class PageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there are nodes on either side of a page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a connection. ``total_count`` is ``None`` if the service does not count."""

    edges: list[Edge[T]]
    page_info: PageInfo
    total_count: int | None = None

    @property
    def nodes(self) -> list[T]:
        """Return the nodes without their edges."""
        return [edge.node for edge in self.edges]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The requested part of a list: ``size`` items after or before ``cursor``."""

    size: int
    backward: bool = False
    cursor: str | None = None


def window(
    first: int | None, after: str | None, last: int | None = None, before: str | None = None, *, newest: bool = False
) -> Window:
    """Return the window of a connection's arguments. Raises BadUserInput for invalid ones.

    With ``newest``, a connection without arguments starts from its end.
    """
    if first is not None and last is not None:
        raise BadUserInput("Give `first` or `last`, not both.", reason=Reason.PAGING)
    if after is not None and before is not None:
        raise BadUserInput("Give `after` or `before`, not both.", reason=Reason.PAGING)
    backward = last is not None or before is not None or (newest and first is None and after is None)
    if (backward and first is not None) or (last is not None and after is not None):
        raise BadUserInput("Use `first` with `after`, and `last` with `before`.", reason=Reason.PAGING)
    size = last if last is not None else first
    if size is not None and not 0 <= size <= MAX_PAGE:
        raise BadUserInput(
            f"The page size is {size}: it must be from 0 to {MAX_PAGE}. Request further pages with a cursor.",
            reason=Reason.PAGING,
        )
    return Window(size=DEFAULT_PAGE if size is None else size, backward=backward, cursor=before if backward else after)


def page(
    edges: Sequence[Edge[T]], window: Window, *, more: bool, beyond: bool | None = None, total: int | None = None
) -> Page[T]:
    """Make a page of edges.

    ``more`` says whether there are items further in the direction of paging, ``beyond`` whether there are items on the
    other side. If that is unknown, a cursor counts as one.
    """
    behind = window.cursor is not None if beyond is None else beyond
    info = PageInfo(
        has_next_page=behind if window.backward else more,
        has_previous_page=more if window.backward else behind,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Page(edges=list(edges), page_info=info, total_count=total)


def moment(time: datetime | None) -> datetime:
    """Return the time by which an item is sorted. An item without a time is the oldest."""
    return _LONG_AGO if time is None else in_utc(time)


def encode_cursor(value: object) -> str:
    """Encode a small record as an opaque cursor."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def decode_cursor(cursor: str, type_: type[C]) -> C:
    """Decode the record in a cursor. Raises BadUserInput if the gateway has not made it."""
    if len(cursor) > MAX_CURSOR:
        raise not_of_this_list()
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type_)
    except (binascii.Error, ValueError, RecursionError, msgspec.DecodeError) as error:
        raise not_of_this_list() from error


def not_of_this_list() -> BadUserInput:
    """Return the error for a cursor that is not of the list."""
    return BadUserInput("The cursor does not belong to this list.", reason=Reason.CURSOR)
