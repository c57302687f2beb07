"""Timestamps in upstream answers."""

from __future__ import annotations

from datetime import UTC, datetime


def in_utc(timestamp: datetime) -> datetime:
    """Convert a timestamp to UTC. One without a zone, or out of the range of UTC, is taken for UTC."""
    try:
        return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
    except OverflowError:
        return timestamp.replace(tzinfo=UTC)
