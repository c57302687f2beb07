"""Bounds on what is sent to the doors."""

from __future__ import annotations

from app.auth import MAX_TOKEN_CHARS
from app.bounds.bound import Bound, bad, refused, size
from app.doors import LETTA_BODY_SECONDS
from app.encodings import MAX_CODINGS
from app.graphql import ws
from app.graphql.answers import MAX_ERRORS
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
    Bound("tokens", "tokens of a document", refused(ErrorCode.QUERY_TOO_COMPLEX, "SIZE"), setting="max_query_tokens"),
    Bound("depth", "levels of a document", refused(ErrorCode.QUERY_TOO_COMPLEX, "DEPTH"), setting="max_query_depth"),
    Bound("cost", "the cost of an operation", refused(ErrorCode.QUERY_TOO_COMPLEX, "COST"), setting="max_query_cost"),
    Bound(
        "operation-calls",
        "calls to services that an operation makes, and each event of a subscription",
        refused(ErrorCode.QUERY_TOO_COMPLEX, "UPSTREAM_CALLS"),
        setting="max_upstream_calls",
    ),
    Bound(
        "answer-bytes",
        "the answer to an operation, and each event of a subscription, in bytes",
        refused(ErrorCode.QUERY_TOO_COMPLEX, "ANSWER_SIZE"),
        setting="max_answer_bytes",
    ),
    Bound(
        "answer-errors",
        "fields of one answer that fail",
        refused(ErrorCode.QUERY_TOO_COMPLEX, "ERRORS"),
        f"{MAX_ERRORS:,}",
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
