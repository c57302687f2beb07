"""Bounds on what is sent to the doors."""

from __future__ import annotations

from app import sockets, wire
from app.auth import MAX_TOKEN_CHARS
from app.bounds.bound import Bound, bad, refused, size, too_complex
from app.connection import HELD_BYTES, LINGER_BYTES, LINGER_SECONDS
from app.crowd import MAX_HEADS_BYTES
from app.doors import LETTA_BODY_SECONDS
from app.encodings import MAX_CODINGS
from app.graphql import introspection, lexer, merging, session, shape, subprotocol
from app.graphql.answers import MAX_ERRORS
from app.graphql.http import MAX_QUERY_FIELDS
from app.heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_READ_HEADER_BYTES
from app.json_text import MAX_CONTAINERS
from app.outgoing import MAX_UNSENT_BYTES, MIN_STEP_BYTES, STEP_FRACTION
from app.places import BODIES
from app.server import KEEP_ALIVE_SECONDS
from app.shedding import MAX_WAIT_SECONDS
from app.sockets import BURST_SECONDS
from app.weights import MAX_OWNERS
from clients.bulkhead import SHARES
from clients.codes import ErrorCode, Reason
from resolvers import checks, paging, usage
from schema.node import MAX_NODES

REQUESTS = (
    Bound(
        "body",
        "a request body, in bytes, as sent and as decoded",
        refused(ErrorCode.PAYLOAD_TOO_LARGE),
        setting="max_body_bytes",
    ),
    Bound(
        "bodies",
        "the bytes of one user's bodies, and messages on sockets, from the first until the request is answered",
        f"{refused(ErrorCode.RATE_LIMITED, Reason.BODIES)}; a socket whose message is not complete closes: 4429",
        f"{BODIES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "all-bodies",
        "those of all users, and as many again that come back from Letta",
        f"{refused(ErrorCode.OVERLOADED, Reason.BODIES)}; a socket whose message is not complete closes: 4429",
        f"{BODIES * SHARES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "stranger-bodies",
        "the bytes of bodies of requests that are not signed in; one address gets a quarter of them",
        f"{refused(ErrorCode.OVERLOADED, Reason.BODIES)}; an address: {refused(ErrorCode.RATE_LIMITED, Reason.BODIES)}",
        f"{BODIES} times `MAX_BODY_BYTES`",
    ),
    Bound(
        "body-time",
        "the time a request body may take to arrive, in seconds",
        f"{bad(Reason.BODY_TIMEOUT)} (408)",
        setting="request_timeout",
    ),
    Bound(
        "letta-body-time",
        "the time a body from Letta may take to arrive",
        f"{bad(Reason.BODY_TIMEOUT)} (408)",
        f"{LETTA_BODY_SECONDS:g} s",
    ),
    Bound(
        "containers",
        "objects and arrays of a JSON body, or of a message on a WebSocket",
        f"{refused(ErrorCode.PAYLOAD_TOO_LARGE, Reason.CONTAINERS)}; a socket closes: 1009",
        f"{MAX_CONTAINERS:,}",
    ),
    Bound("codings", "content codings of one body", f"{bad(Reason.CONTENT_ENCODING)} (415)", str(MAX_CODINGS)),
    Bound("head", "the request line and headers", "431, and the connection closes", size(MAX_HEAD_BYTES)),
    Bound("headers", "headers of a request", "431, and the connection closes", str(MAX_HEADERS)),
    Bound(
        "read-header",
        "`Accept`, `Content-Type` or another header that is parsed, all its lines together",
        "431, and the connection closes",
        size(MAX_READ_HEADER_BYTES),
    ),
    Bound(
        "trailers",
        "the request line and headers, and the trailers and chunk extensions of a body, which are ignored",
        "431, and the connection closes",
        size(MAX_HEAD_BYTES),
    ),
    Bound(
        "query-fields",
        "parameters of a query string at `/graphql`",
        bad(Reason.REQUEST),
        str(MAX_QUERY_FIELDS),
    ),
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
        "connections at a time, and at most three quarters of the files that the process may open",
        "the connection that has waited longest for a request is closed",
        setting="max_connections",
    ),
    Bound(
        "head-time",
        "the time until a request's head has come, from its first byte, or that of the connection, in seconds",
        "408 where it has begun; the connection closes",
        setting="request_timeout",
    ),
    Bound(
        "heads",
        "the bytes of heads that are not complete, of all connections",
        "the connection whose head began first is closed",
        size(MAX_HEADS_BYTES),
    ),
    Bound(
        "idle-time", "the time from an answer to the next request", "the connection closes", f"{KEEP_ALIVE_SECONDS} s"
    ),
    Bound(
        "write-time",
        f"the time in which a client must take 1/{STEP_FRACTION} of what waits for it, at least {size(MIN_STEP_BYTES)}"
        " or all of it, in seconds",
        "the connection is reset",
        setting="write_timeout_seconds",
    ),
    Bound(
        "unsent",
        "what waits to be read by all clients",
        "connections of the client that most waits for are reset, the largest first",
        size(MAX_UNSENT_BYTES),
    ),
    Bound(
        "ahead",
        "what is read of further requests before a request has been answered",
        "the rest is read after the answer",
        size(HELD_BYTES),
    ),
    Bound(
        "unread-body",
        "what is still read of a body after the answer, which has `Connection: close`",
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
        f"frames of one user in a second, over all sockets; {BURST_SECONDS} seconds' worth may come at once; one of "
        f"more than {size(wire.UNIT_BYTES)} counts as several",
        "closes: 4429",
        setting="max_socket_messages_per_second",
    ),
    Bound("socket-fragments", "frames of one message", "closes: 1009", f"{wire.MAX_FRAGMENTS:,}"),
    Bound(
        "socket-operations",
        "operations of one socket at a time",
        refused(ErrorCode.RATE_LIMITED, Reason.OPERATIONS),
        str(session.MAX_OPERATIONS),
    ),
    Bound("socket-id", "an operation id", "closes: 4400", f"{subprotocol.MAX_ID_CHARS} characters"),
    Bound(
        "socket-unread",
        f"answers of more than {session.SMALL_CHARS:,} characters that one user leaves unread, over all sockets",
        refused(ErrorCode.RATE_LIMITED, Reason.UNREAD),
        f"{sockets.MAX_UNREAD:,} characters",
    ),
    Bound(
        "socket-unread-all",
        "those of all users; the first of a user is always sent",
        refused(ErrorCode.OVERLOADED, Reason.UNREAD),
        f"{sockets.MAX_ALL_UNREAD:,} characters",
    ),
)

GRAPHQL = (
    Bound("tokens", "tokens of a document", too_complex(Reason.SIZE), setting="max_query_tokens"),
    Bound("depth", "levels of a document", too_complex(Reason.DEPTH), setting="max_query_depth"),
    Bound("document", "characters of a document", too_complex(Reason.SIZE), f"{lexer.MAX_CHARS:,}"),
    Bound("lines", "lines of a document", too_complex(Reason.SIZE), f"{lexer.MAX_LINES:,}"),
    Bound("word", "characters of a name or a number in a document", too_complex(Reason.SIZE), str(lexer.MAX_WORD)),
    Bound(
        "braced-escapes",
        "escapes of the form `\\u{…}` in a document",
        too_complex(Reason.SIZE),
        f"{lexer.MAX_BRACED_ESCAPES:,}",
    ),
    Bound("operations", "operations of a document", too_complex(Reason.OPERATIONS), str(shape.MAX_OPERATIONS)),
    Bound("fragments", "fragments of a document", too_complex(Reason.FRAGMENTS), str(shape.MAX_FRAGMENTS)),
    Bound("document-variables", "variables of an operation", too_complex(Reason.VARIABLES), str(shape.MAX_VARIABLES)),
    Bound("directives", "directives in one place", too_complex(Reason.DIRECTIVES), str(shape.MAX_DIRECTIVES)),
    Bound(
        "aliases",
        "names under which one selection asks for one field",
        too_complex(Reason.ALIASES),
        str(merging.MAX_ALIASES),
    ),
    Bound(
        "document-aliases",
        "aliases of one field in a document",
        too_complex(Reason.ALIASES),
        str(shape.MAX_ALIASES_IN_DOCUMENT),
    ),
    *(
        Bound(
            f"aliases-{name.strip('_')}",
            f"names under which one selection asks for `{name}`",
            too_complex(Reason.ALIASES),
            str(most),
        )
        for name, most in merging.MAX_ALIASES_OF.items()
    ),
    Bound(
        "aliases-introspection",
        "names under which one selection asks for one field of introspection",
        too_complex(Reason.ALIASES),
        str(merging.MAX_INTROSPECTION_ALIASES),
    ),
    Bound(
        "root-fields", "fields at the root of an operation", too_complex(Reason.FIELDS), str(merging.MAX_ROOT_FIELDS)
    ),
    Bound(
        "fields",
        "fields of an operation, with its fragments written out",
        too_complex(Reason.FIELDS),
        f"{merging.MAX_FIELDS:,}",
    ),
    Bound("merges", "fields compared for merging", too_complex(Reason.FIELDS), f"{merging.MAX_MERGES:,}"),
    Bound(
        "introspection-depth",
        "levels of introspection",
        too_complex(Reason.INTROSPECTION),
        str(shape.MAX_INTROSPECTION_DEPTH),
    ),
    Bound(
        "introspection",
        "values of an operation's introspection",
        too_complex(Reason.INTROSPECTION),
        f"{introspection.MAX_VALUES:,}",
    ),
    Bound("cost", "the cost of an operation", too_complex(Reason.COST), setting="max_query_cost"),
    Bound(
        "operation-calls",
        "calls to services that an operation makes, and each event of a subscription",
        too_complex(Reason.UPSTREAM_CALLS),
        setting="max_upstream_calls",
    ),
    Bound(
        "answer-bytes",
        "the answer to an operation, and each event of a subscription, in bytes",
        too_complex(Reason.ANSWER_SIZE),
        setting="max_answer_bytes",
    ),
    Bound(
        "answer-errors",
        "fields of one answer that fail",
        too_complex(Reason.ERRORS),
        f"{MAX_ERRORS:,}",
    ),
    Bound(
        "page",
        f"a page of a connection; {paging.DEFAULT_PAGE} without `first` and `last`",
        bad(Reason.PAGING),
        str(paging.MAX_PAGE),
    ),
    Bound("nodes", "`nodes(ids:)`, `_entities(representations:)`", bad(Reason.TOO_MANY), str(MAX_NODES)),
    Bound("usage-days", "`usage(from:, to:)`", bad(Reason.RANGE), f"{usage.MAX_DAYS} days"),
)

PLACES = (
    Bound(
        "sockets",
        "sockets at a time that have signed in",
        f"{refused(ErrorCode.OVERLOADED, Reason.SOCKETS)} for the handshake, or closes: 1013",
        setting="max_sockets",
    ),
    Bound("user-sockets", "sockets of one user at a time", "closes: 4429", setting="max_sockets_per_user"),
    Bound(
        "strangers",
        "sockets at a time that have not signed in",
        "the oldest closes: 4408",
        str(sockets.MAX_STRANGERS),
    ),
    Bound(
        "strangers-per-address",
        "those of one address",
        "the oldest closes: 4408",
        str(sockets.MAX_STRANGERS_PER_ADDRESS),
    ),
    Bound(
        "requests",
        "requests and operations of sockets at a time, and as many again that come back from Letta",
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
        "stranger-requests",
        "requests at a time that are not signed in; one address gets a quarter of them",
        f"{refused(ErrorCode.OVERLOADED, Reason.REQUESTS)}; "
        f"an address: {refused(ErrorCode.RATE_LIMITED, Reason.REQUESTS)}",
        f"1/{SHARES} of `MAX_CONCURRENT_REQUESTS`",
    ),
    Bound(
        "all-streams",
        "streams, and requests that wait for a model, at a time, and as many again that come back from Letta",
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
        "how long a request waits while the gateway has too much to do",
        refused(ErrorCode.OVERLOADED, Reason.BUSY),
        f"{MAX_WAIT_SECONDS:g} s",
    ),
    Bound(
        "weights",
        "users and addresses whose last requests' cost is remembered, to weigh their next ones under overload",
        "forgets the least recently seen",
        f"{MAX_OWNERS:,}",
    ),
)
