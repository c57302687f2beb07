"""Bounds on streams and upstream calls."""

from __future__ import annotations

from app.bounds.bound import Bound, refused, size
from clients.breakers import MAX_PARTS
from clients.calls import AnswerSize, UpstreamLimits
from clients.codes import ErrorCode, Reason
from clients.decode import MAX_PAGE_RECORDS, MAX_RECORDS
from clients.sse import MAX_EVENT_BYTES, MAX_EVENT_PARTS
from clients.transport import MAX_HEADER_BYTES, MAX_HEADERS
from clients.wire import MAX_REFUSAL_BYTES
from resolvers import idempotency
from resolvers.recent_ids import CREATED_KEPT_FOR, MAX_ALL_CREATED, MAX_CREATED
from resolvers.streams.limits import OWNERS, StreamLimits
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.watch import MAX_FOLLOWS

_STREAMS, _UPSTREAM = StreamLimits(), UpstreamLimits()

STREAMS = (
    Bound(
        "streams",
        "running streams of one user; and as many of the user's agents at the proxy",
        refused(ErrorCode.RATE_LIMITED, Reason.STREAMS),
        str(_STREAMS.max_streams_per_user),
    ),
    Bound(
        "follows",
        "conversations followed by one user",
        refused(ErrorCode.RATE_LIMITED, Reason.FOLLOWS),
        str(MAX_FOLLOWS),
    ),
    Bound(
        "answer-text",
        "the text of a streamed answer in UTF-8, with reasoning, tool arguments and messages",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE)}",
        size(_STREAMS.max_log),
    ),
    Bound(
        "answer-memory",
        "the memory of a streamed answer",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE)}",
        size(_STREAMS.max_memory),
    ),
    Bound(
        "stream-event",
        "one event of a stream from LiteLLM or Letta",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, Reason.DECODE)}",
        size(MAX_EVENT_BYTES),
    ),
    Bound(
        "stream-event-parts",
        "lines, and objects, in such an event",
        f"ends: {refused(ErrorCode.UPSTREAM_ERROR, Reason.DECODE)}",
        f"{MAX_EVENT_PARTS:,}",
    ),
    Bound(
        "delta",
        "a delta in GraphQL; whole messages are not split",
        "is split, each part with its cursor",
        size(MAX_FRAME_BYTES),
    ),
    Bound(
        "readers",
        "streams read by one user at a time",
        refused(ErrorCode.RATE_LIMITED, Reason.READERS),
        str(_STREAMS.max_readers_per_user),
    ),
    Bound(
        "reader-waiting",
        f"data that waits for a reader that takes more than {_STREAMS.slow_after:g} seconds for a frame",
        "`ReaderDetached`, `SLOW`",
        size(_STREAMS.max_waiting),
    ),
    Bound(
        "source-lead",
        "data read ahead of the fastest reader of a stream with `onDisconnect: CANCEL`",
        "pauses the upstream connection",
        size(_STREAMS.max_lead),
    ),
    Bound(
        "stream-memory",
        "the memory of all streams that run or can be read again, in bytes",
        refused(ErrorCode.OVERLOADED, Reason.STREAM_MEMORY),
        setting="stream_memory_bytes",
    ),
    Bound(
        "stream-memory-user",
        "the same of one user, with the requests of running streams",
        "evicts the user's oldest answers, whose keys are then "
        f"{refused(ErrorCode.CONFLICT, Reason.ANSWER_DROPPED)}; "
        f"else {refused(ErrorCode.RATE_LIMITED, Reason.STREAM_MEMORY)}",
        f"1/{OWNERS} of it",
    ),
    Bound(
        "answers-kept",
        f"answers under idempotency keys without a stream; one user gets 1/{idempotency.OWNERS}",
        "evicts the user's oldest, whose keys are then "
        f"{refused(ErrorCode.CONFLICT, Reason.ANSWER_DROPPED)}; else {refused(ErrorCode.RATE_LIMITED, Reason.KEYS)}; "
        f"for all users: {refused(ErrorCode.OVERLOADED, Reason.KEYS)}",
        size(idempotency.MAX_KEPT_BYTES),
    ),
    Bound(
        "keys-under-way",
        "requests in progress with such a key, of one user",
        refused(ErrorCode.RATE_LIMITED, Reason.KEYS),
        str(idempotency.MAX_UNDER_WAY),
    ),
    Bound(
        "made",
        "recent conversations and passages of one user, kept for "
        f"{CREATED_KEPT_FOR.total_seconds() / 3600:g} hour to find one whose answer was lost",
        f"evicts the user's oldest; a retry of an older one is {refused(ErrorCode.CONFLICT, Reason.OUTCOME_UNKNOWN)}",
        f"{MAX_CREATED:,}; of all users, {MAX_ALL_CREATED:,}",
    ),
)

UPSTREAM_CALLS = (
    Bound(
        "bulkhead",
        "concurrent calls of one replica to one service: reads, and model calls; one user gets a quarter",
        f"queues; {refused(ErrorCode.UPSTREAM_UNAVAILABLE, Reason.BULKHEAD_FULL)}",
        f"{_UPSTREAM.max_concurrent:,} and {_UPSTREAM.max_model_calls:,}",
    ),
    Bound(
        "upstream-body",
        "an upstream answer that is not streamed, decoded, in bytes: all of it for embeddings, "
        f"1/{AnswerSize.LIST.share} for lists and completions, 1/{AnswerSize.RECORD.share} for AMS and records",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE),
        setting="max_upstream_bytes",
    ),
    Bound(
        "upstream-values",
        "objects, and values, in such an answer, with braces and commas in texts; "
        f"{AnswerSize.RECORD.objects:,} objects for AMS and embeddings",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE),
        f"{AnswerSize.LIST.objects:,}, and {AnswerSize.LIST.values:,}",
    ),
    Bound(
        "upstream-records",
        f"records in an upstream list; {MAX_PAGE_RECORDS:,} in a page of Letta",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.DECODE),
        f"{MAX_RECORDS:,}",
    ),
    Bound(
        "upstream-refusal", "the body of an upstream error", "is not read; the status decides", size(MAX_REFUSAL_BYTES)
    ),
    Bound(
        "upstream-headers",
        f"headers of an upstream answer, of {MAX_HEADER_BYTES:,} bytes each",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.CUT),
        str(MAX_HEADERS),
    ),
    Bound(
        "breaker-parts",
        "breakers of parts of one service",
        "evicts a closed one, else one of the same user",
        f"{MAX_PARTS:,}",
    ),
)
