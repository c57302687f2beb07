"""Limits on streams, and the metrics of streams."""

from dataclasses import dataclass
from typing import Protocol

OWNERS = 8
"""One owner's quota is the memory for all streams divided by this number."""

READERS_PER_STREAM = 2
"""One owner may read this many times ``max_streams_per_user`` streams at a time."""

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Limits on streams. Times are in seconds, and sizes are in bytes.

    Attributes:
        grace: how long a stream continues without readers.
        retention: how long a stream can be read after its end.
        heartbeat: how long a request waits for its stream to open before the gateway answers.
        coalesce, max_waiting, slow_after: see ``read_events``.
        max_log: the maximum size of an answer: text in UTF-8, reasoning, arguments and messages.
        max_memory: the maximum memory of one stream's log.
        max_lead: how far a source is read ahead of its readers before backpressure applies. A stream that continues
            without readers has no backpressure.
        memory: the maximum memory of all streams and their requests. One owner's quota is ``memory / OWNERS``.
        poll_interval: the time between two polls of a followed conversation.
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
    max_readers_per_user: int = 100 * READERS_PER_STREAM
    poll_interval: float = 3


class StreamMetrics(Protocol):
    """The metrics of streams."""

    def stream_started(self, kind: str) -> None:
        """Count a stream that has started."""

    def stream_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Count a stream that has ended."""

    def tokens_used(self, kind: str, prompt: int | None, completion: int | None) -> None:
        """Count the tokens that the service has reported."""

    def event_unreadable(self, kind: str) -> None:
        """Count an upstream event that is not a JSON object."""

    def source_broke(self, kind: str, error: Exception) -> None:
        """Report an internal error in a source."""

    def first_token(self, kind: str, seconds: float) -> None:
        """Record the seconds until a stream's first token."""

    def next_frames(self, kind: str, seconds: float, frames: int) -> None:
        """Record the seconds before frames that have arrived together. Between these frames, there is no time."""
