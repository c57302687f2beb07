"""Limits on streams, the refusals, and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from clients.codes import Reason
from clients.errors import Conflict, Overloaded, RateLimited

OWNERS = 8
"""The number of owners who can together use all the memory of streams."""

_RETRY_SECONDS = 1.0
_MEMORY_RETRY_SECONDS = 10.0


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


def evicted() -> Conflict:
    """Return the error for a key whose answer was evicted."""
    return Conflict(
        "The stream with this key has ended, and its answer was evicted from memory. A new key repeats the request.",
        reason=Reason.ANSWER_DROPPED,
    )


def too_many_readers(limit: int) -> RateLimited:
    """Return the refusal of another reader."""
    message = f"You read {limit} streams, which is the limit. Stop reading one of them first."
    return RateLimited(message, reason=Reason.READERS, retry_after_seconds=_RETRY_SECONDS)


def too_many_streams(limit: int) -> RateLimited:
    """Return the refusal of another stream."""
    message = f"You have {limit} running streams, which is the limit. Wait until one ends, or cancel one."
    return RateLimited(message, reason=Reason.STREAMS, retry_after_seconds=_RETRY_SECONDS)


def over_quota() -> RateLimited:
    """Return the refusal of another stream by the owner's quota of memory."""
    message = "Your running and open streams use up your share of memory. End some of them first."
    return RateLimited(message, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)


def no_memory() -> Overloaded:
    """Return the refusal of another stream by the memory of all owners."""
    message = "The streams of all users use up the memory. Retry later."
    return Overloaded(message, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)


def too_large_together() -> RateLimited:
    """Return the error of a running stream that takes most of its owner's quota."""
    message = (
        "Your running streams exceed your share of memory, and this one is among the largest. Run fewer at a time."
    )
    return RateLimited(message, reason=Reason.STREAM_MEMORY, retry_after_seconds=_MEMORY_RETRY_SECONDS)


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
