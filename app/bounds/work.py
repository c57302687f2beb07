"""Bounds on streams and on calls to upstreams."""

from __future__ import annotations

from app.bounds.bound import Bound, refused, size
from clients.breakers import MAX_PARTS
from clients.calls import UpstreamLimits
from clients.encoding import MAX_WHOLE_BYTES
from clients.errors import ErrorCode
from clients.sse import MAX_EVENT_BYTES
from resolvers.once import MAX_ANSWERS, MAX_KEPT_BYTES
from resolvers.streams.hub import StreamLimits

_STREAMS, _UPSTREAM = StreamLimits(), UpstreamLimits()

STREAMS = (
    Bound(
        "streams",
        "running streams of one user, and as many of their agents at the proxy",
        refused(ErrorCode.OVERLOADED, "STREAMS"),
        str(_STREAMS.max_streams_per_user),
    ),
    Bound(
        "answer-text",
        "the text of a streamed answer: UTF-8, with reasoning, tool arguments and messages",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, 'TOO_LARGE')}",
        size(_STREAMS.max_log),
    ),
    Bound(
        "answer-memory",
        "the memory of a streamed answer, in however many pieces it comes",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, 'TOO_LARGE')}",
        size(_STREAMS.max_memory),
    ),
    Bound(
        "stream-event",
        "one event of a stream of LiteLLM or Letta",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, 'DECODE')}",
        size(MAX_EVENT_BYTES),
    ),
    Bound(
        "answers-kept",
        "answers kept under idempotency keys that are not streams'",
        "evicts the oldest",
        f"{MAX_ANSWERS:,}, {size(MAX_KEPT_BYTES)}",
    ),
)

UPSTREAM_CALLS = (
    Bound(
        "bulkhead",
        "calls of one replica to one service at a time: reads, and calls that wait for a model; "
        "one user gets a quarter",
        f"waits; {refused(ErrorCode.UPSTREAM_UNAVAILABLE, 'BULKHEAD_FULL')}",
        f"{_UPSTREAM.max_concurrent:,} and {_UPSTREAM.max_model_calls:,}",
    ),
    Bound(
        "upstream-body",
        "an upstream's answer that is not streamed, decoded",
        refused(ErrorCode.UPSTREAM_ERROR, "DECODE"),
        size(MAX_WHOLE_BYTES),
    ),
    Bound(
        "breaker-parts",
        "breakers of models and kinds of call, of one service",
        "evicts a closed one",
        f"{MAX_PARTS:,}",
    ),
)
