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
"""How many characters a cursor of this gateway's has at most, by far."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time within a cursor: one without a zone is none of ours."""

MAX_PAGE = 100
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")
C = TypeVar("C")


class Edge(msgspec.Struct, Generic[T], frozen=True):
    """A node in its place in a list."""

    node: T
    cursor: str


class PageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on either side of a page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a connection. ``total_count`` only where the upstream can tell it."""

    edges: list[Edge[T]]
    page_info: PageInfo
    total_count: int | None = None

    @property
    def nodes(self) -> list[T]:
        """The nodes without their edges."""
        return [edge.node for edge in self.edges]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is asked for: ``size`` items after or before ``cursor``."""

    size: int
    backward: bool = False
    cursor: str | None = None


def window(
    first: int | None, after: str | None, last: int | None = None, before: str | None = None, *, newest: bool = False
) -> Window:
    """The window that a connection's arguments ask for.

    ``newest`` makes a connection without arguments start from its end.

    Raises:
        BadUserInput: ``first`` with ``last``, a cursor of the wrong side, or a size outside 0 to ``MAX_PAGE``.
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
    edges: Sequence[Edge[T]], asked: Window, *, more: bool, beyond: bool | None = None, total: int | None = None
) -> Page[T]:
    """A page from its edges.

    ``more`` says whether the list goes on in the direction of paging, ``beyond`` whether there is anything on the
    side it came from; unknown, that is whether a cursor was given.
    """
    behind = asked.cursor is not None if beyond is None else beyond
    info = PageInfo(
        has_next_page=behind if asked.backward else more,
        has_previous_page=more if asked.backward else behind,
        start_cursor=edges[0].cursor if edges else None,
        end_cursor=edges[-1].cursor if edges else None,
    )
    return Page(edges=list(edges), page_info=info, total_count=total)


def moment(told: datetime | None) -> datetime:
    """The time of a place in a list; what an upstream tells no time of comes from long ago."""
    return _LONG_AGO if told is None else in_utc(told)


def encode_cursor(value: object) -> str:
    """An opaque cursor from a small record."""
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


def decode_cursor(cursor: str, type_: type[C]) -> C:
    """The record in a cursor this gateway made.

    Raises:
        BadUserInput: for anything else.
    """
    if len(cursor) > MAX_CURSOR:
        raise not_of_this_list()
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=type_)
    except (binascii.Error, ValueError, RecursionError, msgspec.DecodeError) as error:
        raise not_of_this_list() from error


def not_of_this_list() -> BadUserInput:
    """A cursor that leads nowhere in the list it is given to."""
    return BadUserInput("The cursor does not belong to this list.", reason=Reason.CURSOR)
