"""Bounds on streams, what is refused beyond them, and what is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from clients.errors import Conflict, Overloaded, RateLimited

OWNERS = 8
"""How many owners it takes to use up the memory of streams."""

_RETRY_SECONDS = 1.0
_MEMORY_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Bounds on streams. Times in seconds, sizes in bytes.

    ``max_log`` bounds an answer: its text in UTF-8, reasoning and arguments included, and its messages. ``max_memory``
    bounds what one stream's log takes in memory, in however many pieces the answer came. ``memory`` bounds what all
    streams hold, running and ended, with their requests; one owner's hold an ``OWNERS``th part of it at most.

    ``max_waiting`` is what may wait for a reader that has not come back for ``slow_after``. ``max_lead`` is how far a
    source is read ahead of every reader, where the stream is cancelled without readers.

    ``look`` is how often a conversation that is followed is looked at in Letta, for turns begun elsewhere.
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
    """The answer to a key whose stream is over and not kept any more."""
    return Conflict(
        "The key was used before, and what it started is over. Its answer is not kept any more: it made room for newer "
        "ones of yours. Use a new key to ask again.",
        reason="ANSWER_DROPPED",
    )


def too_many_readers(limit: int) -> RateLimited:
    """The refusal of another reader."""
    message = f"You read {limit} streams at a time, which is the most: stop reading one of them first."
    return RateLimited(message, reason="READERS", retry_after_seconds=_RETRY_SECONDS)


def too_many_streams(limit: int) -> RateLimited:
    """The refusal of another stream."""
    message = f"{limit} streams of yours are running, which is the most: end one before you start another."
    return RateLimited(message, reason="STREAMS", retry_after_seconds=_RETRY_SECONDS)


def over_quota() -> RateLimited:
    """The refusal of another stream where the owner's streams use up the owner's quota of memory."""
    message = "Your streams, running or read at present, hold all the memory that they may: end some of them first."
    return RateLimited(message, reason="STREAM_MEMORY", retry_after_seconds=_MEMORY_RETRY_SECONDS)


def no_memory() -> Overloaded:
    """The refusal of another stream where the streams of all owners use up the memory."""
    message = "The streams of all users hold all the memory that they may. Try again later."
    return Overloaded(message, reason="STREAM_MEMORY", retry_after_seconds=_MEMORY_RETRY_SECONDS)


def too_large_together() -> RateLimited:
    """The end of a running stream that holds most of what its owner's streams may hold."""
    message = "The answers of your running streams are too large together, and this is one of the largest: run fewer."
    return RateLimited(message, reason="STREAM_MEMORY", retry_after_seconds=_MEMORY_RETRY_SECONDS)


class StreamMetrics(Protocol):
    """What is counted of streams."""

    def stream_started(self, kind: str) -> None:
        """A stream began."""

    def stream_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """A stream ended."""

    def tokens_used(self, kind: str, prompt: int | None, completion: int | None) -> None:
        """Tokens went in and came out, as far as the upstream has told."""

    def event_unreadable(self, kind: str) -> None:
        """An upstream sent an event that is no JSON object."""

    def source_broke(self, kind: str, error: Exception) -> None:
        """A source failed in a way that is the gateway's own fault."""

    def first_token(self, kind: str, seconds: float) -> None:
        """Its first token came."""

    def next_frame(self, kind: str, seconds: float) -> None:
        """Another frame of its answer came, so long after the one before."""
