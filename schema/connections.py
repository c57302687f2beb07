"""What every connection has."""

from __future__ import annotations

import strawberry

from resolvers import paging
from schema.base import described, reads


@strawberry.type(description="What lies on either side of a page.")
@reads(paging.PageInfo)
class PageInfo:
    """Relay's PageInfo."""

    has_next_page: bool = described("Whether the list goes on after this page.")
    has_previous_page: bool = described("Whether there is anything before this page.")
    start_cursor: str | None = described("The cursor of the first edge.")
    end_cursor: str | None = described("The cursor of the last edge.")
