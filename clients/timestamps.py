"""Converts timestamps in services' answers."""

from datetime import UTC, datetime


def in_utc(timestamp: datetime) -> datetime:
    """Convert a timestamp to UTC. A timestamp that has no time zone, or cannot be converted, is treated as UTC."""
    if timestamp.tzinfo is UTC:  # as msgspec decodes a time with "Z"
        return timestamp
    try:
        return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
    except OverflowError:
        return timestamp.replace(tzinfo=UTC)
