"""Times, as upstreams tell them."""

from __future__ import annotations

from datetime import UTC, datetime


def in_utc(told: datetime) -> datetime:
    """The same moment in UTC. Upstreams mean UTC where they name no zone, or where UTC has no such year."""
    try:
        return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    except OverflowError:
        return told.replace(tzinfo=UTC)
