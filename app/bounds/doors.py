"""Bounds on what is sent to the doors."""

from __future__ import annotations

from app.auth import MAX_TOKEN_CHARS
from app.bounds.bound import Bound, bad, refused, size, too_complex
from app.doors import LETTA_BODY_SECONDS
from app.encodings import MAX_CODINGS
from app.graphql import introspection, lexer, merging, shape, ws
from app.server import MAX_HEAD_BYTES
from clients.errors import ErrorCode
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
        "body-time",
        "the time a request body may take to arrive, in seconds",
        f"{bad('BODY_TIMEOUT')} (408)",
        setting="request_timeout",
    ),
    Bound(
        "letta-body-time",
        "the time a body from Letta may take to arrive",
        f"{bad('BODY_TIMEOUT')} (408)",
        f"{LETTA_BODY_SECONDS:g} s",
    ),
    Bound("codings", "content codings of one body", f"{bad('CONTENT_ENCODING')} (415)", str(MAX_CODINGS)),
    Bound("head", "the request line and headers", "431, and the connection closes", size(MAX_HEAD_BYTES)),
    Bound(
        "token",
        "a bearer token",
        refused(ErrorCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        f"{MAX_TOKEN_CHARS:,} characters",
    ),
    Bound(
        "key",
        "a `streamKey`, an `idempotencyKey`, an `Idempotency-Key`",
        bad("KEY"),
        f"{checks.MAX_KEY} characters",
    ),
)

SOCKETS = (
    Bound("socket-message", "a message, in bytes", "closes: 1009", setting="max_body_bytes"),
    Bound("socket-init", "the time until `connection_init`, in seconds", "closes: 4408", setting="socket_init_seconds"),
    Bound(
        "socket-operations",
        "operations of one socket at a time",
        refused(ErrorCode.RATE_LIMITED, "OPERATIONS"),
        str(ws.MAX_OPERATIONS),
    ),
    Bound("socket-id", "an operation id", "closes: 4400", f"{ws.MAX_ID_CHARS} characters"),
)

GRAPHQL = (
    Bound("tokens", "tokens of a document", too_complex("SIZE"), setting="max_query_tokens"),
    Bound("depth", "levels of a document", too_complex("DEPTH"), setting="max_query_depth"),
    Bound("document", "characters of a document", too_complex("SIZE"), f"{lexer.MAX_CHARS:,}"),
    Bound("lines", "lines of a document", too_complex("SIZE"), f"{lexer.MAX_LINES:,}"),
    Bound("word", "characters of a name or a number in a document", too_complex("SIZE"), str(lexer.MAX_WORD)),
    Bound(
        "braced-escapes",
        "escapes of the form `\\u{…}` in a document",
        too_complex("SIZE"),
        f"{lexer.MAX_BRACED_ESCAPES:,}",
    ),
    Bound("operations", "operations of a document", too_complex("OPERATIONS"), str(shape.MAX_OPERATIONS)),
    Bound("fragments", "fragments of a document", too_complex("FRAGMENTS"), str(shape.MAX_FRAGMENTS)),
    Bound("document-variables", "variables of an operation", too_complex("VARIABLES"), str(shape.MAX_VARIABLES)),
    Bound("directives", "directives in one place", too_complex("DIRECTIVES"), str(shape.MAX_DIRECTIVES)),
    Bound(
        "aliases",
        "names under which one selection asks for one field",
        too_complex("ALIASES"),
        str(merging.MAX_ALIASES),
    ),
    Bound(
        "document-aliases",
        "aliases of one field in a document",
        too_complex("ALIASES"),
        str(shape.MAX_ALIASES_IN_DOCUMENT),
    ),
    *(
        Bound(
            f"aliases-{name.strip('_')}",
            f"names under which one selection asks for `{name}`",
            too_complex("ALIASES"),
            str(most),
        )
        for name, most in merging.MAX_ALIASES_OF.items()
    ),
    Bound(
        "aliases-introspection",
        "names under which one selection asks for one field of introspection",
        too_complex("ALIASES"),
        str(merging.MAX_INTROSPECTION_ALIASES),
    ),
    Bound("root-fields", "fields at the root of an operation", too_complex("FIELDS"), str(merging.MAX_ROOT_FIELDS)),
    Bound(
        "fields",
        "fields of an operation, with its fragments written out",
        too_complex("FIELDS"),
        f"{merging.MAX_FIELDS:,}",
    ),
    Bound(
        "merges", "fields compared to find that they can be merged", too_complex("FIELDS"), f"{merging.MAX_MERGES:,}"
    ),
    Bound(
        "introspection-depth",
        "levels of introspection",
        too_complex("INTROSPECTION"),
        str(shape.MAX_INTROSPECTION_DEPTH),
    ),
    Bound(
        "introspection",
        "values of an operation's introspection",
        too_complex("INTROSPECTION"),
        f"{introspection.MAX_VALUES:,}",
    ),
    Bound(
        "page",
        f"a page of a connection; {paging.DEFAULT_PAGE} without `first` and `last`",
        bad("PAGING"),
        str(paging.MAX_PAGE),
    ),
    Bound("nodes", "`nodes(ids:)`, `_entities(representations:)`", bad("TOO_MANY"), str(MAX_NODES)),
    Bound("usage-days", "`usage(from:, to:)`", bad("RANGE"), f"{usage.MAX_DAYS} days"),
)

PLACES = (
    Bound(
        "requests",
        "requests at a time, and as many again that come back from Letta",
        refused(ErrorCode.OVERLOADED),
        setting="max_concurrent_requests",
    ),
)
