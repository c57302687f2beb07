"""Limits on streams, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

OWNERS = 8
"""The number of owners who can together use all the memory of streams."""

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Limits on streams. Times in seconds, sizes in bytes.

    Attributes:
        grace: how long a stream continues without readers.
        retention: how long a stream can be read after its end.
        heartbeat: how long a request waits for its stream to open before it is answered.
        coalesce: see ``read_events``, also for ``max_waiting`` and ``slow_after``.
        max_log: the size of an answer: text in UTF-8, reasoning, arguments and messages.
        max_memory: the log of one stream in memory.
        max_lead: how far a source is read ahead of all readers, if the stream is cancelled without readers.
        memory: all streams with their requests. One owner has an ``OWNERS``th part of it.
        look: the time between two polls of a followed conversation.
    """

    grace: float = 60
    retention: float = 300
    heartbeat: float = 15
    coalesce: float = 0.016
    max_waiting: int = 1024 * 1024
    slow_after: float = 5
    max_log: int = 16 * 1024 * 1024
    max_memory: int = 64 * 1024 * 1024
    max_lead: int = 2 * 1024 * 1024
    memory: int = 512 * 1024 * 1024
    max_streams_per_user: int = 100
    max_readers_per_user: int = 200
    look: float = 3


class StreamMetrics(Protocol):
    """The metrics of streams."""

    def stream_started(self, kind: str) -> None:
        """Count a stream that begins."""

    def stream_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a stream that has ended."""

    def tokens_used(self, kind: str, prompt: int | None, completion: int | None) -> None:
        """Count tokens, as far as the upstream has reported them."""

    def event_unreadable(self, kind: str) -> None:
        """Count an upstream event that is not a JSON object."""

    def source_broke(self, kind: str, error: Exception) -> None:
        """Report an internal error of a source."""

    def first_token(self, kind: str, seconds: float) -> None:
        """Record the time to the first token."""

    def next_frame(self, kind: str, seconds: float) -> None:
        """Record the time between two frames."""
