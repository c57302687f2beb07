"""Describes the bounds on requests, connections, WebSockets, GraphQL documents and slots."""

from app import sockets
from app.bounds.bound import Bound, bad, refused, shared, size, too_complex
from app.connections import frames as wire
from app.connections.bounded import HELD_BYTES, LINGER_BYTES, LINGER_SECONDS
from app.connections.heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_READ_HEADER_BYTES
from app.connections.idle_connections import MAX_HEADS_BYTES
from app.connections.outgoing import MAX_UNSENT_BYTES, MIN_STEP_BYTES, STEP_FRACTION
from app.connections.server import KEEP_ALIVE_SECONDS
from app.encodings import MAX_CODINGS
from app.gateway import LETTA_BODY_SECONDS
from app.graphql import introspection, lexer, merging, shape, socket_operations, subprotocol
from app.graphql.answers import MAX_ERRORS
from app.graphql.http import MAX_QUERY_FIELDS
from app.json_text import MAX_CONTAINERS
from app.shedding import MAX_WAIT_SECONDS
from app.slots import BODIES
from app.sockets import BURST_SECONDS
from app.weights import MAX_OWNERS
from clients.bulkhead import SHARES
from clients.codes import ErrorCode, Reason
from resolvers import checks, paging, usage
from schema.node import MAX_NODES

_CLOSES = "the gateway closes the connection"
_BODY_CLOSES = "close code 4429 for an incomplete WebSocket message"
_BODY_TIME = "the time until a whole request body has arrived"
_DOCUMENT = "the size of a document"


def _closes(code: int) -> str:
    return f"close code {code}"


REQUESTS = (
    Bound(
        "body",
        "a request body, both encoded and decoded",
        refused(ErrorCode.PAYLOAD_TOO_LARGE),
        "{} bytes",
        setting="max_body_bytes",
    ),
    Bound(
        "bodies",
        "one user's request bodies and WebSocket messages that wait for an answer",
        f"{refused(ErrorCode.RATE_LIMITED, Reason.BODIES)}; {_BODY_CLOSES}",
        f"{BODIES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "all-bodies",
        "all users' request bodies and WebSocket messages that wait for an answer",
        f"{refused(ErrorCode.OVERLOADED, Reason.BODIES)}; {_BODY_CLOSES}",
        f"{BODIES * SHARES} times `MAX_BODY_BYTES`; a separate maximum of the same size for calls from Letta",
    ),
    Bound(
        "anonymous-bodies",
        "the bodies of unanswered requests without a token",
        f"{refused(ErrorCode.OVERLOADED, Reason.BODIES)}; "
        f"for one IP address {refused(ErrorCode.RATE_LIMITED, Reason.BODIES)}",
        f"{BODIES} times `MAX_BODY_BYTES`; a quarter of this maximum for one IP address",
    ),
    Bound("body-time", _BODY_TIME, f"{bad(Reason.BODY_TIMEOUT)} (408)", "{} seconds", setting="request_timeout"),
    Bound(
        "letta-body-time",
        _BODY_TIME,
        f"{bad(Reason.BODY_TIMEOUT)} (408)",
        f"{LETTA_BODY_SECONDS:g} seconds for calls from Letta",
    ),
    Bound(
        "containers",
        "objects and arrays, together, in a JSON body or WebSocket message",
        f"{refused(ErrorCode.PAYLOAD_TOO_LARGE, Reason.CONTAINERS)}; close code 1009 for a WebSocket",
        f"{MAX_CONTAINERS:,}",
    ),
    Bound("codings", "codings in `Content-Encoding`", f"{bad(Reason.CONTENT_ENCODING)} (415)", str(MAX_CODINGS)),
    *shared(
        "the head of a request: the request line and the headers",
        f"the status 431, and {_CLOSES}",
        head=size(MAX_HEAD_BYTES),
        headers=f"{MAX_HEADERS} headers",
        read_header=f"{size(MAX_READ_HEADER_BYTES)} for each header that the gateway parses, such as `Accept`",
        trailers=f"{size(MAX_HEAD_BYTES)} for the head, the body's trailers and chunk extensions together",
    ),
    Bound("query-fields", "parameters in the query string of `/graphql`", bad(Reason.REQUEST), str(MAX_QUERY_FIELDS)),
    Bound(
        "key",
        "a `streamKey`, `idempotencyKey` or `Idempotency-Key`",
        bad(Reason.KEY),
        f"{checks.MAX_KEY} characters",
    ),
)

CONNECTIONS = (
    Bound(
        "connections",
        "open connections",
        "the gateway closes the connection that has been idle longest",
        "{}, and at most three quarters of the process's file descriptor limit",
        setting="max_connections",
    ),
    Bound(
        "head-time",
        "the time until a client has sent the head of a request",
        f"408 if a part of the head has arrived; {_CLOSES}",
        "{} seconds",
        setting="request_timeout",
    ),
    Bound(
        "heads",
        "all incomplete request heads together",
        "the gateway closes the connection whose incomplete head is oldest",
        size(MAX_HEADS_BYTES),
    ),
    Bound(
        "idle-time",
        "the idle time between an answer and the next request",
        _CLOSES,
        f"{KEEP_ALIVE_SECONDS} seconds",
    ),
    Bound(
        "write-time",
        f"the time in which a client must read {size(MIN_STEP_BYTES)} or 1/{STEP_FRACTION} of its unread data, "
        "whichever is more",
        "the gateway resets the connection",
        "{} seconds",
        setting="write_timeout_seconds",
    ),
    Bound(
        "unsent",
        "the unread data of all clients together",
        "the gateway resets connections of the client that has the most unread data",
        size(MAX_UNSENT_BYTES),
    ),
    Bound(
        "ahead",
        "pipelined requests that the gateway reads while an earlier request has no answer",
        "the gateway reads further requests after the earlier request's answer",
        size(HELD_BYTES),
    ),
    Bound(
        "unread-body",
        "the rest of a refused request's body, which the gateway reads and discards",
        _CLOSES,
        f"{size(LINGER_BYTES)} and {LINGER_SECONDS:g} seconds",
    ),
)

SOCKETS = (
    Bound("socket-message", "a WebSocket message", _closes(1009), "{} bytes", setting="max_body_bytes"),
    Bound(
        "socket-init",
        "the time until the client sends `connection_init`",
        _closes(4408),
        "{} seconds",
        setting="socket_init_seconds",
    ),
    Bound("socket-sign-in-frames", "frames before `connection_init`", _closes(4400), str(wire.SIGN_IN_FRAMES)),
    Bound("socket-sign-in-bytes", "bytes of payload before `connection_init`", _closes(1009), size(wire.SIGN_IN_BYTES)),
    Bound(
        "socket-messages",
        f"one user's frames over all WebSockets; a frame over {size(wire.UNIT_BYTES)} counts as several frames",
        _closes(4429),
        f"{{}} per second, with bursts of {BURST_SECONDS} times this number",
        setting="max_socket_messages_per_second",
    ),
    Bound("socket-fragments", "frames in one message", _closes(1009), f"{wire.MAX_FRAGMENTS:,}"),
    Bound(
        "socket-operations",
        "concurrent operations on one WebSocket",
        refused(ErrorCode.RATE_LIMITED, Reason.OPERATIONS),
        str(socket_operations.MAX_OPERATIONS),
    ),
    Bound("socket-id", "an operation id", _closes(4400), f"{subprotocol.MAX_ID_CHARS} characters"),
    Bound(
        "socket-unread",
        f"one user's unread answers; answers of up to {socket_operations.SMALL_BYTES:,} bytes do not count",
        refused(ErrorCode.RATE_LIMITED, Reason.UNREAD),
        f"{sockets.MAX_UNREAD:,} bytes",
    ),
    Bound(
        "socket-unread-all",
        f"all users' unread answers; answers of up to {socket_operations.SMALL_BYTES:,} bytes do not count; "
        "a user who has read all earlier answers always gets the next answer",
        refused(ErrorCode.OVERLOADED, Reason.UNREAD),
        f"{sockets.MAX_ALL_UNREAD:,} bytes",
    ),
)

GRAPHQL = (
    Bound("tokens", _DOCUMENT, too_complex(Reason.SIZE), "{} tokens", setting="max_query_tokens"),
    *shared(
        _DOCUMENT,
        too_complex(Reason.SIZE),
        document=f"{lexer.MAX_CHARS:,} characters",
        lines=f"{lexer.MAX_LINES:,} lines",
        word=f"{lexer.MAX_WORD} characters in a name or number",
        braced_escapes=f"{lexer.MAX_BRACED_ESCAPES:,} escapes of the form `\\u{{…}}`",
    ),
    Bound("depth", "the depth of a document", too_complex(Reason.DEPTH), setting="max_query_depth"),
    Bound("operations", "operations in a document", too_complex(Reason.OPERATIONS), str(shape.MAX_OPERATIONS)),
    Bound("fragments", "fragments in a document", too_complex(Reason.FRAGMENTS), str(shape.MAX_FRAGMENTS)),
    Bound("document-variables", "variables of an operation", too_complex(Reason.VARIABLES), str(shape.MAX_VARIABLES)),
    Bound("directives", "directives at one location", too_complex(Reason.DIRECTIVES), str(shape.MAX_DIRECTIVES)),
    *shared(
        "aliases of one field in a document",
        too_complex(Reason.ALIASES),
        document_aliases=str(shape.MAX_ALIASES_IN_DOCUMENT),
    ),
    *shared(
        "aliases of one field in a selection set",
        too_complex(Reason.ALIASES),
        aliases=str(merging.MAX_ALIASES),
        **{f"aliases-{name.strip('_')}": f"{most} for `{name}`" for name, most in merging.MAX_ALIASES_OF.items()},
        aliases_introspection=f"{merging.MAX_INTROSPECTION_ALIASES} for any other introspection field",
    ),
    *shared(
        "the fields of an operation",
        too_complex(Reason.FIELDS),
        root_fields=f"{merging.MAX_ROOT_FIELDS} root fields",
        fields=f"{merging.MAX_FIELDS:,} fields after the expansion of fragments",
        merges=f"{merging.MAX_MERGES:,} comparisons to check that fields can merge",
    ),
    *shared(
        "the introspection fields of an operation",
        too_complex(Reason.INTROSPECTION),
        introspection_depth=f"a depth of {shape.MAX_INTROSPECTION_DEPTH}",
        introspection=f"{introspection.MAX_VALUES:,} values",
    ),
    Bound("cost", "the cost of an operation", too_complex(Reason.COST), setting="max_query_cost"),
    Bound(
        "operation-calls",
        "upstream calls for an operation, or for each event of a subscription",
        too_complex(Reason.UPSTREAM_CALLS),
        setting="max_upstream_calls",
    ),
    Bound(
        "answer-bytes",
        "the answer to an operation, or each event of a subscription",
        too_complex(Reason.ANSWER_SIZE),
        "{} bytes",
        setting="max_answer_bytes",
    ),
    Bound("answer-errors", "failed fields in an answer", too_complex(Reason.ERRORS), f"{MAX_ERRORS:,}"),
    Bound(
        "page",
        f"a page of a connection (default: {paging.DEFAULT_PAGE} nodes)",
        bad(Reason.PAGING),
        f"{paging.MAX_PAGE} nodes",
    ),
    Bound("nodes", "items of `nodes(ids:)` and `_entities(representations:)`", bad(Reason.TOO_MANY), str(MAX_NODES)),
    Bound("usage-days", "the period of `usage(from:, to:)`", bad(Reason.RANGE), f"{usage.MAX_DAYS} days"),
)

SLOTS = (
    Bound(
        "sockets",
        "open WebSockets that have signed in",
        f"{refused(ErrorCode.OVERLOADED, Reason.SOCKETS)} for the handshake, or close code 1013",
        setting="max_sockets",
    ),
    Bound("user-sockets", "one user's open WebSockets", _closes(4429), setting="max_sockets_per_user"),
    *shared(
        "open WebSockets that have not signed in",
        "close code 4408 for the oldest of these WebSockets",
        anonymous_sockets=str(sockets.MAX_ANONYMOUS),
        anonymous_sockets_per_address=f"{sockets.MAX_ANONYMOUS_PER_ADDRESS} for one IP address",
    ),
    Bound(
        "requests",
        "concurrent requests and WebSocket operations; as many separate slots exist for calls from Letta",
        refused(ErrorCode.OVERLOADED, Reason.REQUESTS),
        setting="max_concurrent_requests",
    ),
    Bound(
        "user-requests",
        "one user's concurrent requests and WebSocket operations",
        refused(ErrorCode.RATE_LIMITED, Reason.REQUESTS),
        f"1/{SHARES} of `MAX_CONCURRENT_REQUESTS`",
    ),
    Bound(
        "anonymous-requests",
        "concurrent requests without a token",
        f"{refused(ErrorCode.OVERLOADED, Reason.REQUESTS)}; "
        f"for one IP address {refused(ErrorCode.RATE_LIMITED, Reason.REQUESTS)}",
        f"1/{SHARES} of `MAX_CONCURRENT_REQUESTS`; a quarter of this maximum for one IP address",
    ),
    Bound(
        "all-streams",
        "concurrent streams, and requests that wait for a model; as many separate slots exist for calls from Letta",
        refused(ErrorCode.OVERLOADED, Reason.STREAMS),
        setting="max_concurrent_streams",
    ),
    Bound(
        "user-streams",
        "one user's concurrent streams, and the user's requests that wait for a model",
        refused(ErrorCode.RATE_LIMITED, Reason.STREAMS),
        f"1/{SHARES} of `MAX_CONCURRENT_STREAMS`",
    ),
    Bound(
        "admission-wait",
        "a request's time in the queue while the gateway sheds load",
        refused(ErrorCode.OVERLOADED, Reason.BUSY),
        f"{MAX_WAIT_SECONDS:g} second",
    ),
    Bound(
        "weights",
        "users and IP addresses whose past load the gateway stores for load shedding",
        "the gateway evicts the entry that was used least recently",
        f"{MAX_OWNERS:,}",
    ),
)
