"""Bounds on requests, connections, sockets, documents and slots."""

from __future__ import annotations

from app import sockets, wire
from app.auth import MAX_TOKEN_CHARS
from app.bounds.bound import Bound, bad, refused, size, too_complex
from app.connection import HELD_BYTES, LINGER_BYTES, LINGER_SECONDS
from app.encodings import MAX_CODINGS
from app.gateway import LETTA_BODY_SECONDS
from app.graphql import introspection, lexer, merging, session, shape, subprotocol
from app.graphql.answers import MAX_ERRORS
from app.graphql.http import MAX_QUERY_FIELDS
from app.heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_READ_HEADER_BYTES
from app.idle_connections import MAX_HEADS_BYTES
from app.json_text import MAX_CONTAINERS
from app.outgoing import MAX_UNSENT_BYTES, MIN_STEP_BYTES, STEP_FRACTION
from app.server import KEEP_ALIVE_SECONDS
from app.shedding import MAX_WAIT_SECONDS
from app.slots import BODIES
from app.sockets import BURST_SECONDS
from app.weights import MAX_OWNERS
from clients.bulkhead import SHARES
from clients.codes import ErrorCode, Reason
from resolvers import checks, paging, usage
from schema.node import MAX_NODES

REQUESTS = (
    Bound(
        "body",
        "a request body as sent and as decoded, in bytes",
        refused(ErrorCode.PAYLOAD_TOO_LARGE),
        setting="max_body_bytes",
    ),
    Bound(
        "bodies",
        "request bodies and socket messages of one user, from their first byte until the answer, in bytes",
        f"{refused(ErrorCode.RATE_LIMITED, Reason.BODIES)}; a socket whose message is not complete closes: 4429",
        f"{BODIES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "all-bodies",
        "those of all users; and as many again for calls from Letta",
        f"{refused(ErrorCode.OVERLOADED, Reason.BODIES)}; a socket whose message is not complete closes: 4429",
        f"{BODIES * SHARES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "anonymous-bodies",
        "request bodies without a token, in bytes; one address gets a quarter",
        f"{refused(ErrorCode.OVERLOADED, Reason.BODIES)}; an address: {refused(ErrorCode.RATE_LIMITED, Reason.BODIES)}",
        f"{BODIES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "body-time",
        "the time until a request body has arrived, in seconds",
        f"{bad(Reason.BODY_TIMEOUT)} (408)",
        setting="request_timeout",
    ),
    Bound(
        "letta-body-time",
        "the time until a body from Letta has arrived",
        f"{bad(Reason.BODY_TIMEOUT)} (408)",
        f"{LETTA_BODY_SECONDS:g} s",
    ),
    Bound(
        "containers",
        "objects and arrays in a JSON body or WebSocket message",
        f"{refused(ErrorCode.PAYLOAD_TOO_LARGE, Reason.CONTAINERS)}; a socket closes: 1009",
        f"{MAX_CONTAINERS:,}",
    ),
    Bound("codings", "content codings of a body", f"{bad(Reason.CONTENT_ENCODING)} (415)", str(MAX_CODINGS)),
    Bound("head", "the request line and headers", "431, and the connection closes", size(MAX_HEAD_BYTES)),
    Bound("headers", "headers of a request", "431, and the connection closes", str(MAX_HEADERS)),
    Bound(
        "read-header",
        "a parsed header such as `Accept` or `Content-Type`, all its lines together",
        "431, and the connection closes",
        size(MAX_READ_HEADER_BYTES),
    ),
    Bound(
        "trailers",
        "the request line and headers with the trailers and chunk extensions of the body, which are ignored",
        "431, and the connection closes",
        size(MAX_HEAD_BYTES),
    ),
    Bound("query-fields", "parameters in a query string of `/graphql`", bad(Reason.REQUEST), str(MAX_QUERY_FIELDS)),
    Bound(
        "token",
        "a bearer token",
        refused(ErrorCode.UNAUTHENTICATED, Reason.TOKEN_INVALID),
        f"{MAX_TOKEN_CHARS:,} characters",
    ),
    Bound(
        "key",
        "a `streamKey`, an `idempotencyKey`, an `Idempotency-Key`",
        bad(Reason.KEY),
        f"{checks.MAX_KEY} characters",
    ),
)

CONNECTIONS = (
    Bound(
        "connections",
        "open connections; never more than three quarters of the process's limit on open files",
        "closes the connection that has waited longest for a request",
        setting="max_connections",
    ),
    Bound(
        "head-time",
        "the time until a request line and headers are complete, in seconds",
        "408 if they have begun; the connection closes",
        setting="request_timeout",
    ),
    Bound(
        "heads",
        "incomplete request lines and headers of all connections",
        "closes the connection whose head began first",
        size(MAX_HEADS_BYTES),
    ),
    Bound(
        "idle-time", "the time from an answer to the next request", "the connection closes", f"{KEEP_ALIVE_SECONDS} s"
    ),
    Bound(
        "write-time",
        f"the time in which a client must read 1/{STEP_FRACTION} of its waiting data, at least {size(MIN_STEP_BYTES)}"
        " or all of it, in seconds",
        "the connection is reset",
        setting="write_timeout_seconds",
    ),
    Bound(
        "unsent",
        "data that waits for all clients",
        "resets connections of the client with the most data, the largest first",
        size(MAX_UNSENT_BYTES),
    ),
    Bound("ahead", "pipelined requests read ahead of an answer", "the rest is read after the answer", size(HELD_BYTES)),
    Bound(
        "unread-body",
        "a body read and discarded after an early answer, which has `Connection: close`",
        "the connection closes",
        f"{size(LINGER_BYTES)}, {LINGER_SECONDS:g} s",
    ),
)

SOCKETS = (
    Bound("socket-message", "a message, in bytes", "closes: 1009", setting="max_body_bytes"),
    Bound("socket-init", "the time until `connection_init`, in seconds", "closes: 4408", setting="socket_init_seconds"),
    Bound("socket-sign-in-frames", "frames before `connection_init`", "closes: 4400", str(wire.SIGN_IN_FRAMES)),
    Bound("socket-sign-in-bytes", "their payload", "closes: 1009", size(wire.SIGN_IN_BYTES)),
    Bound(
        "socket-messages",
        f"frames per second of one user over all sockets, with bursts of {BURST_SECONDS} seconds' worth; a frame of "
        f"more than {size(wire.UNIT_BYTES)} counts as several",
        "closes: 4429",
        setting="max_socket_messages_per_second",
    ),
    Bound("socket-fragments", "frames of a message", "closes: 1009", f"{wire.MAX_FRAGMENTS:,}"),
    Bound(
        "socket-operations",
        "concurrent operations of one socket",
        refused(ErrorCode.RATE_LIMITED, Reason.OPERATIONS),
        str(session.MAX_OPERATIONS),
    ),
    Bound("socket-id", "an operation id", "closes: 4400", f"{subprotocol.MAX_ID_CHARS} characters"),
    Bound(
        "socket-unread",
        f"unread answers of more than {session.SMALL_CHARS:,} characters of one user, over all sockets",
        refused(ErrorCode.RATE_LIMITED, Reason.UNREAD),
        f"{sockets.MAX_UNREAD:,} characters",
    ),
    Bound(
        "socket-unread-all",
        "those of all users; the first one of a user is always sent",
        refused(ErrorCode.OVERLOADED, Reason.UNREAD),
        f"{sockets.MAX_ALL_UNREAD:,} characters",
    ),
)

GRAPHQL = (
    Bound("tokens", "tokens of a document", too_complex(Reason.SIZE), setting="max_query_tokens"),
    Bound("depth", "the depth of a document", too_complex(Reason.DEPTH), setting="max_query_depth"),
    Bound("document", "characters of a document", too_complex(Reason.SIZE), f"{lexer.MAX_CHARS:,}"),
    Bound("lines", "lines of a document", too_complex(Reason.SIZE), f"{lexer.MAX_LINES:,}"),
    Bound("word", "characters of a name or number in a document", too_complex(Reason.SIZE), str(lexer.MAX_WORD)),
    Bound(
        "braced-escapes",
        "escapes of the form `\\u{…}` in a document",
        too_complex(Reason.SIZE),
        f"{lexer.MAX_BRACED_ESCAPES:,}",
    ),
    Bound("operations", "operations of a document", too_complex(Reason.OPERATIONS), str(shape.MAX_OPERATIONS)),
    Bound("fragments", "fragments of a document", too_complex(Reason.FRAGMENTS), str(shape.MAX_FRAGMENTS)),
    Bound("document-variables", "variables of an operation", too_complex(Reason.VARIABLES), str(shape.MAX_VARIABLES)),
    Bound("directives", "directives on one node", too_complex(Reason.DIRECTIVES), str(shape.MAX_DIRECTIVES)),
    Bound("aliases", "aliases of one field in a selection", too_complex(Reason.ALIASES), str(merging.MAX_ALIASES)),
    Bound(
        "document-aliases",
        "aliases of one field in a document",
        too_complex(Reason.ALIASES),
        str(shape.MAX_ALIASES_IN_DOCUMENT),
    ),
    *(
        Bound(
            f"aliases-{name.strip('_')}", f"aliases of `{name}` in a selection", too_complex(Reason.ALIASES), str(most)
        )
        for name, most in merging.MAX_ALIASES_OF.items()
    ),
    Bound(
        "aliases-introspection",
        "aliases of another introspection field in a selection",
        too_complex(Reason.ALIASES),
        str(merging.MAX_INTROSPECTION_ALIASES),
    ),
    Bound("root-fields", "root fields of an operation", too_complex(Reason.FIELDS), str(merging.MAX_ROOT_FIELDS)),
    Bound(
        "fields",
        "fields of an operation with its fragments expanded",
        too_complex(Reason.FIELDS),
        f"{merging.MAX_FIELDS:,}",
    ),
    Bound("merges", "fields compared to check that they merge", too_complex(Reason.FIELDS), f"{merging.MAX_MERGES:,}"),
    Bound(
        "introspection-depth",
        "the depth of introspection",
        too_complex(Reason.INTROSPECTION),
        str(shape.MAX_INTROSPECTION_DEPTH),
    ),
    Bound(
        "introspection",
        "introspection values of an operation",
        too_complex(Reason.INTROSPECTION),
        f"{introspection.MAX_VALUES:,}",
    ),
    Bound("cost", "the cost of an operation", too_complex(Reason.COST), setting="max_query_cost"),
    Bound(
        "operation-calls",
        "upstream calls of an operation, or of each event of a subscription",
        too_complex(Reason.UPSTREAM_CALLS),
        setting="max_upstream_calls",
    ),
    Bound(
        "answer-bytes",
        "the answer to an operation, or each event of a subscription, in bytes",
        too_complex(Reason.ANSWER_SIZE),
        setting="max_answer_bytes",
    ),
    Bound("answer-errors", "failed fields of an answer", too_complex(Reason.ERRORS), f"{MAX_ERRORS:,}"),
    Bound("page", f"a page of a connection (default: {paging.DEFAULT_PAGE})", bad(Reason.PAGING), str(paging.MAX_PAGE)),
    Bound("nodes", "items of `nodes(ids:)` and `_entities(representations:)`", bad(Reason.TOO_MANY), str(MAX_NODES)),
    Bound("usage-days", "the period of `usage(from:, to:)`", bad(Reason.RANGE), f"{usage.MAX_DAYS} days"),
)

SLOTS = (
    Bound(
        "sockets",
        "open sockets that have signed in",
        f"{refused(ErrorCode.OVERLOADED, Reason.SOCKETS)} for the handshake, or closes: 1013",
        setting="max_sockets",
    ),
    Bound("user-sockets", "open sockets of one user", "closes: 4429", setting="max_sockets_per_user"),
    Bound(
        "anonymous-sockets",
        "open sockets that have not signed in",
        "closes the oldest: 4408",
        str(sockets.MAX_ANONYMOUS),
    ),
    Bound(
        "anonymous-sockets-per-address",
        "those of one address",
        "closes the oldest: 4408",
        str(sockets.MAX_ANONYMOUS_PER_ADDRESS),
    ),
    Bound(
        "requests",
        "concurrent requests and socket operations; and as many again for calls from Letta",
        refused(ErrorCode.OVERLOADED, Reason.REQUESTS),
        setting="max_concurrent_requests",
    ),
    Bound(
        "user-requests",
        "those of one user",
        refused(ErrorCode.RATE_LIMITED, Reason.REQUESTS),
        f"1/{SHARES} of `MAX_CONCURRENT_REQUESTS`",
    ),
    Bound(
        "anonymous-requests",
        "concurrent requests without a token; one address gets a quarter",
        f"{refused(ErrorCode.OVERLOADED, Reason.REQUESTS)}; "
        f"an address: {refused(ErrorCode.RATE_LIMITED, Reason.REQUESTS)}",
        f"1/{SHARES} of `MAX_CONCURRENT_REQUESTS`",
    ),
    Bound(
        "all-streams",
        "concurrent streams and requests that wait for a model; and as many again for calls from Letta",
        refused(ErrorCode.OVERLOADED, Reason.STREAMS),
        setting="max_concurrent_streams",
    ),
    Bound(
        "user-streams",
        "those of one user",
        refused(ErrorCode.RATE_LIMITED, Reason.STREAMS),
        f"1/{SHARES} of `MAX_CONCURRENT_STREAMS`",
    ),
    Bound(
        "admission-wait",
        "the time in the queue while the gateway sheds load",
        refused(ErrorCode.OVERLOADED, Reason.BUSY),
        f"{MAX_WAIT_SECONDS:g} s",
    ),
    Bound(
        "weights",
        "users and addresses whose requests are weighed under load",
        "evicts the least recently seen",
        f"{MAX_OWNERS:,}",
    ),
)
