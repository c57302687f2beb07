"""Describes the bounds on streams and upstream calls."""

from app.bounds.bound import Bound, refused, shared, size
from clients.breakers import MAX_PARTS
from clients.calls import AnswerSize, UpstreamLimits
from clients.codes import ErrorCode, Reason
from clients.decode import MAX_PAGE_RECORDS, MAX_RECORDS
from clients.http.connection import MAX_HEADER_BYTES, MAX_HEADERS
from clients.sse import MAX_EVENT_BYTES, MAX_EVENT_PARTS
from clients.state.streams.backend import LogLimits
from clients.wire import MAX_REFUSAL_BYTES
from resolvers import idempotency
from resolvers.recent_ids import CREATED_KEPT_FOR, MAX_ALL_CREATED, MAX_CREATED
from resolvers.streams.limits import OWNERS, READERS_PER_STREAM, StreamLimits
from resolvers.streams.merging import MAX_FRAME_BYTES
from resolvers.watch import MAX_FOLLOWS

_STREAMS, _UPSTREAM = StreamLimits(), UpstreamLimits()

_EVICTS = (
    "the gateway evicts the user's oldest answers; a retry with an evicted answer's key gets "
    f"{refused(ErrorCode.CONFLICT, Reason.ANSWER_DROPPED)}; if no answer can be evicted, "
)
_UPSTREAM_ANSWER = "upstream answer that is not streamed"

STREAMS = (
    Bound(
        "streams",
        "one user's running streams; the user's agents can run the same number of streams through the proxy",
        refused(ErrorCode.RATE_LIMITED, Reason.STREAMS),
        setting="max_streams_per_user",
    ),
    Bound(
        "follows",
        "conversations that one user follows at a time",
        refused(ErrorCode.RATE_LIMITED, Reason.FOLLOWS),
        str(MAX_FOLLOWS),
    ),
    *shared(
        "a streamed answer",
        f"the stream ends with {refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE)}",
        answer_text=f"{size(_STREAMS.max_log)} of UTF-8 text, including reasoning, tool arguments and messages",
        answer_memory=f"{size(_STREAMS.max_memory)} of memory",
    ),
    *shared(
        "one event of a stream from LiteLLM or Letta",
        f"the stream ends with {refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE)}",
        stream_event=size(MAX_EVENT_BYTES),
        stream_event_parts=f"{MAX_EVENT_PARTS:,} lines; {MAX_EVENT_PARTS:,} JSON objects",
    ),
    Bound(
        "delta",
        "a delta in GraphQL; `MessageAdded` is not split",
        "the gateway splits the delta; each part has its own cursor",
        size(MAX_FRAME_BYTES),
    ),
    Bound(
        "readers",
        "streams that one user reads at a time",
        refused(ErrorCode.RATE_LIMITED, Reason.READERS),
        f"{READERS_PER_STREAM} times `MAX_STREAMS_PER_USER`",
    ),
    Bound(
        "reader-waiting",
        f"unread data of a reader that takes more than {_STREAMS.slow_after:g} seconds for a frame",
        "the reader gets `ReaderDetached` with the reason `SLOW`",
        size(_STREAMS.max_waiting),
    ),
    Bound(
        "source-lead",
        "with `onDisconnect: CANCEL`, data that the gateway reads ahead of the stream's fastest reader",
        "the gateway pauses the upstream connection",
        size(_STREAMS.max_lead),
    ),
    Bound(
        "stream-memory",
        "the memory of all streams that run or can be replayed",
        refused(ErrorCode.OVERLOADED, Reason.STREAM_MEMORY),
        "{} bytes",
        setting="stream_memory_bytes",
    ),
    Bound(
        "stream-memory-user",
        "the memory of one user's streams, including the requests of running streams",
        f"{_EVICTS}{refused(ErrorCode.RATE_LIMITED, Reason.STREAM_MEMORY)}",
        f"1/{OWNERS} of `STREAM_MEMORY_BYTES`",
    ),
    Bound(
        "streams-kept",
        "with Redis, one user's streams that run or can be replayed",
        f"{_EVICTS}{refused(ErrorCode.RATE_LIMITED, Reason.STREAM_MEMORY)}",
        f"{LogLimits().max_listed:,}",
    ),
    Bound(
        "answers-kept",
        "stored answers to requests that have an idempotency key and no stream",
        f"{_EVICTS}{refused(ErrorCode.RATE_LIMITED, Reason.KEYS)}; if all users together exceed the maximum, "
        f"{refused(ErrorCode.OVERLOADED, Reason.KEYS)}",
        f"{size(idempotency.MAX_KEPT_BYTES)}; 1/{idempotency.OWNERS} of this maximum for one user",
    ),
    Bound(
        "keys-under-way",
        "one user's requests in flight that have an idempotency key and no stream",
        refused(ErrorCode.RATE_LIMITED, Reason.KEYS),
        str(idempotency.MAX_IN_FLIGHT),
    ),
    Bound(
        "made",
        "stored ids of conversations and passages that the gateway has created within the last "
        f"{CREATED_KEPT_FOR.total_seconds() / 3600:g} hour; a search after a lost answer skips these objects",
        f"the gateway evicts the user's oldest ids; a retry of a request that is older than an evicted id gets "
        f"{refused(ErrorCode.CONFLICT, Reason.OUTCOME_UNKNOWN)}",
        f"{MAX_CREATED:,} for one user; {MAX_ALL_CREATED:,} for all users",
    ),
)

UPSTREAM_CALLS = (
    Bound(
        "bulkhead",
        "a replica's concurrent calls to one service",
        f"a further call queues, and can get {refused(ErrorCode.UPSTREAM_UNAVAILABLE, Reason.BULKHEAD_FULL)}",
        f"{_UPSTREAM.max_concurrent:,} reads; as many model calls as streams (`MAX_CONCURRENT_STREAMS`); "
        "a quarter of each number for one user",
    ),
    Bound(
        "upstream-body",
        f"a decoded {_UPSTREAM_ANSWER}; lists and completions can have 1/{AnswerSize.LIST.share} of the maximum; "
        f"AMS's answers and single records can have 1/{AnswerSize.RECORD.share} of the maximum",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE),
        "{} bytes",
        setting="max_upstream_bytes",
    ),
    Bound(
        "upstream-values",
        f"the objects and values in an {_UPSTREAM_ANSWER}, counted by braces and commas",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.TOO_LARGE),
        f"{AnswerSize.LIST.objects:,} objects, but {AnswerSize.RECORD.objects:,} in AMS's answers and in embeddings; "
        f"{AnswerSize.LIST.values:,} values",
    ),
    Bound(
        "upstream-records",
        "records in an upstream list",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.DECODE),
        f"{MAX_RECORDS:,} records; {MAX_PAGE_RECORDS:,} in a page from Letta",
    ),
    Bound(
        "upstream-refusal",
        "the body of an upstream error",
        "the gateway ignores the body and uses the status",
        size(MAX_REFUSAL_BYTES),
    ),
    Bound(
        "upstream-headers",
        "headers of an upstream answer",
        refused(ErrorCode.UPSTREAM_ERROR, Reason.CUT),
        f"{MAX_HEADERS} headers; {MAX_HEADER_BYTES:,} bytes in a header",
    ),
    Bound(
        "breaker-parts",
        "one service's breakers for models and kinds of calls",
        "the gateway evicts a closed breaker; if no breaker is closed, the gateway evicts a breaker of the same user",
        f"{MAX_PARTS:,}",
    ),
)
