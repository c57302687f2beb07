"""Every bound on what a client can send, hold or receive; ``docs/limits.md`` shows them as a table.

``python -m app.bounds docs/limits.md`` writes the table anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.auth import MAX_TOKEN_CHARS
from app.doors import LETTA_BODY_SECONDS
from app.encodings import MAX_CODINGS
from app.graphql import ws
from app.server import MAX_HEAD_BYTES
from app.settings import Settings
from clients.breakers import MAX_PARTS
from clients.calls import UpstreamLimits
from clients.encoding import MAX_WHOLE_BYTES
from clients.errors import ErrorCode
from clients.sse import MAX_EVENT_BYTES
from resolvers import asking, checks, completing, images, paging, passages, usage
from resolvers.once import MAX_ANSWERS, MAX_KEPT_BYTES
from resolvers.streams.hub import StreamLimits
from schema.inputs import MAX_TEXT
from schema.node import MAX_NODES

BEGIN, END = "<!-- The table is generated: make generated -->", "<!-- The end of the table -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound, as ``docs/limits.md`` shows it.

    Attributes:
        key: its name in tests: each bound has a test at it and one past it, marked ``bound(key)``.
        what: what is bounded.
        amount: how much there may be; empty where ``setting`` has it.
        past: what happens past it.
        setting: the field of ``Settings`` that changes it.
    """

    key: str
    what: str
    amount: str = ""
    past: str
    setting: str | None = None

    def row(self) -> str:
        """Return it as a row of the table."""
        amount = self.amount or f"{Settings.model_fields[self.setting or ''].default:,}"
        setting = f"`{self.setting.upper()}`" if self.setting else ""
        return f"| {self.what} | {amount} | {setting} | {self.past} |\n"


def _refused(code: ErrorCode, reason: str | None = None) -> str:
    return f"`{code.value}`" if reason is None else f"`{code.value}`, `{reason}`"


def _size(count: int) -> str:
    for unit, bytes_ in (("MiB", 2**20), ("KiB", 2**10)):
        if count % bytes_ == 0:
            return f"{count // bytes_:,} {unit}"
    return f"{count:,} bytes"


_STREAMS, _UPSTREAM = StreamLimits(), UpstreamLimits()
_BAD = ErrorCode.BAD_USER_INPUT

BOUNDS: dict[str, tuple[Bound, ...]] = {
    "Requests": (
        Bound(
            key="body",
            what="a request body, in bytes, as sent and as decoded",
            setting="max_body_bytes",
            past=_refused(ErrorCode.PAYLOAD_TOO_LARGE),
        ),
        Bound(
            key="body-time",
            what="the time a request body may take to arrive, in seconds",
            setting="request_timeout",
            past=f"{_refused(_BAD, 'BODY_TIMEOUT')} (408)",
        ),
        Bound(
            key="letta-body-time",
            what="the time a body from Letta may take to arrive",
            amount=f"{LETTA_BODY_SECONDS:g} s",
            past=f"{_refused(_BAD, 'BODY_TIMEOUT')} (408)",
        ),
        Bound(
            key="codings",
            what="content codings of one body",
            amount=str(MAX_CODINGS),
            past=f"{_refused(_BAD, 'CONTENT_ENCODING')} (415)",
        ),
        Bound(
            key="head",
            what="the request line and headers",
            amount=_size(MAX_HEAD_BYTES),
            past="431, and the connection closes",
        ),
        Bound(
            key="token",
            what="a bearer token",
            amount=f"{MAX_TOKEN_CHARS:,} characters",
            past=_refused(ErrorCode.UNAUTHENTICATED, "TOKEN_INVALID"),
        ),
        Bound(
            key="key",
            what="a `streamKey`, an `idempotencyKey`, an `Idempotency-Key`",
            amount=f"{checks.MAX_KEY} characters",
            past=_refused(_BAD, "KEY"),
        ),
    ),
    "WebSockets": (
        Bound(
            key="socket-message",
            what="a message, in bytes",
            setting="max_body_bytes",
            past="closes: 1009",
        ),
        Bound(
            key="socket-init",
            what="the time until `connection_init`, in seconds",
            setting="socket_init_seconds",
            past="closes: 4408",
        ),
        Bound(
            key="socket-operations",
            what="operations of one socket at a time",
            amount=str(ws.MAX_OPERATIONS),
            past=_refused(ErrorCode.RATE_LIMITED, "OPERATIONS"),
        ),
        Bound(
            key="socket-id",
            what="an operation id",
            amount=f"{ws.MAX_ID_CHARS} characters",
            past="closes: 4400",
        ),
    ),
    "GraphQL": (
        Bound(
            key="tokens",
            what="tokens of a document",
            setting="max_query_tokens",
            past=_refused(ErrorCode.QUERY_TOO_COMPLEX, "SIZE"),
        ),
        Bound(
            key="depth",
            what="levels of a document",
            setting="max_query_depth",
            past=_refused(ErrorCode.QUERY_TOO_COMPLEX, "DEPTH"),
        ),
        Bound(
            key="page",
            what=f"a page of a connection; {paging.DEFAULT_PAGE} without `first` and `last`",
            amount=str(paging.MAX_PAGE),
            past=_refused(_BAD, "PAGING"),
        ),
        Bound(
            key="nodes",
            what="`nodes(ids:)`, `_entities(representations:)`",
            amount=str(MAX_NODES),
            past=_refused(_BAD, "TOO_MANY"),
        ),
        Bound(
            key="usage-days",
            what="`usage(from:, to:)`",
            amount=f"{usage.MAX_DAYS} days",
            past=_refused(_BAD, "RANGE"),
        ),
    ),
    "Messages and completions": (
        Bound(
            key="message",
            what="the text of a message",
            amount=f"{MAX_TEXT:,} characters",
            past=_refused(_BAD, "TOO_LONG"),
        ),
        Bound(
            key="completion-messages",
            what="messages of a completion",
            amount=f"{asking.MAX_MESSAGES:,}",
            past=_refused(_BAD, "RANGE"),
        ),
        Bound(
            key="completion-tools",
            what="tools of a completion",
            amount=str(asking.MAX_TOOLS),
            past=_refused(_BAD, "TOOLS"),
        ),
        Bound(
            key="completion-stops",
            what="stop sequences of a completion",
            amount=str(asking.MAX_STOPS),
            past=_refused(_BAD, "STOP"),
        ),
        Bound(
            key="embed-inputs",
            what="inputs of `embed`",
            amount=str(completing.MAX_INPUTS),
            past=_refused(_BAD, "RANGE"),
        ),
        Bound(
            key="embed-text",
            what="the inputs of `embed`, together",
            amount=f"{completing.MAX_INPUT:,} characters",
            past=_refused(_BAD, "TOO_LONG"),
        ),
        Bound(
            key="embed-dimensions",
            what="`dimensions` of `embed`",
            amount=f"{completing.MAX_DIMENSIONS:,}",
            past=_refused(_BAD, "RANGE"),
        ),
        Bound(
            key="image-address",
            what="an image's address; https, and not within a network",
            amount=f"{images.MAX_URL:,} characters",
            past=_refused(_BAD, "IMAGE"),
        ),
    ),
    "Agents": (
        Bound(
            key="agent-name",
            what="an agent's name: letters, digits, spaces, hyphens, underscores and apostrophes",
            amount=f"{checks.MAX_NAME} characters",
            past=_refused(_BAD, "NAME"),
        ),
        Bound(
            key="description",
            what="an agent's description",
            amount=f"{checks.MAX_DESCRIPTION:,} characters",
            past=_refused(_BAD, "TEXT"),
        ),
        Bound(
            key="tags",
            what="tags of an agent or passage",
            amount=str(checks.MAX_TAGS),
            past=_refused(_BAD, "TAG"),
        ),
        Bound(key="tag", what="a tag", amount=f"{checks.MAX_TAG} characters", past=_refused(_BAD, "TAG")),
        Bound(
            key="search",
            what="a search by name",
            amount=f"{checks.MAX_SEARCH} characters",
            past=_refused(_BAD, "TEXT"),
        ),
        Bound(
            key="summary",
            what="a conversation's summary",
            amount=f"{checks.MAX_SUMMARY:,} characters",
            past=_refused(_BAD, "TEXT"),
        ),
        Bound(
            key="passage",
            what="a passage's text",
            amount=f"{passages.MAX_TEXT:,} characters",
            past=_refused(_BAD, "TOO_LONG"),
        ),
        Bound(
            key="memory-query",
            what="a query of `searchMemory`",
            amount=f"{passages.MAX_QUERY:,} characters",
            past=_refused(_BAD, "TOO_LONG"),
        ),
        Bound(
            key="agent-file",
            what="an Agent File",
            amount=f"{checks.MAX_SOURCE_BYTES:,} bytes",
            past=_refused(_BAD, "TOO_LONG"),
        ),
        Bound(
            key="variables",
            what="an agent's variables, as JSON",
            amount=f"{checks.MAX_VARIABLES_BYTES:,} bytes",
            past=_refused(_BAD, "TOO_LONG"),
        ),
        Bound(
            key="variables-depth",
            what="the nesting of an agent's variables",
            amount=f"{checks.MAX_NESTING} levels",
            past=_refused(_BAD, "VARIABLES"),
        ),
    ),
    "Streams": (
        Bound(
            key="streams",
            what="running streams of one user, and as many of their agents at the proxy",
            amount=str(_STREAMS.max_streams_per_user),
            past=_refused(ErrorCode.OVERLOADED, "STREAMS"),
        ),
        Bound(
            key="answer-text",
            what="the text of a streamed answer: UTF-8, with reasoning, tool arguments and messages",
            amount=_size(_STREAMS.max_log),
            past=f"ends: {_refused(ErrorCode.UPSTREAM_ERROR, 'TOO_LARGE')}",
        ),
        Bound(
            key="answer-memory",
            what="the memory of a streamed answer, in however many pieces it comes",
            amount=_size(_STREAMS.max_memory),
            past=f"ends: {_refused(ErrorCode.UPSTREAM_ERROR, 'TOO_LARGE')}",
        ),
        Bound(
            key="stream-event",
            what="one event of a stream of LiteLLM or Letta",
            amount=_size(MAX_EVENT_BYTES),
            past=f"ends: {_refused(ErrorCode.UPSTREAM_ERROR, 'DECODE')}",
        ),
        Bound(
            key="answers-kept",
            what="answers kept under idempotency keys that are not streams'",
            amount=f"{MAX_ANSWERS:,}, {_size(MAX_KEPT_BYTES)}",
            past="evicts the oldest",
        ),
    ),
    "Upstream calls": (
        Bound(
            key="bulkhead",
            what="calls of one replica to one service at a time: reads, and calls that wait for a model; "
            "one user gets a quarter",
            amount=f"{_UPSTREAM.max_concurrent:,} and {_UPSTREAM.max_model_calls:,}",
            past=f"waits; {_refused(ErrorCode.UPSTREAM_UNAVAILABLE, 'BULKHEAD_FULL')}",
        ),
        Bound(
            key="upstream-body",
            what="an upstream's answer that is not streamed, decoded",
            amount=_size(MAX_WHOLE_BYTES),
            past=_refused(ErrorCode.UPSTREAM_ERROR, "DECODE"),
        ),
        Bound(
            key="breaker-parts",
            what="breakers of models and kinds of call, of one service",
            amount=f"{MAX_PARTS:,}",
            past="evicts a closed one",
        ),
    ),
    "Places": (
        Bound(
            key="requests",
            what="requests at a time, and as many again that come back from Letta",
            setting="max_concurrent_requests",
            past=_refused(ErrorCode.OVERLOADED),
        ),
    ),
}


def table() -> str:
    """Return all bounds as Markdown: a table for each section."""
    return "\n".join(_section(name, bounds) for name, bounds in BOUNDS.items())


def _section(name: str, bounds: tuple[Bound, ...]) -> str:
    head = f"### {name}\n\n| what | at most | setting | past it |\n|---|---|---|---|\n"
    return head + "".join(bound.row() for bound in bounds)


def keys() -> Iterator[str]:
    """Yield the key of every bound."""
    for bounds in BOUNDS.values():
        yield from (bound.key for bound in bounds)


def rewritten(page: str) -> str:
    """Return ``docs/limits.md`` with its table anew. Raises ValueError for a page without the marks."""
    found = re.fullmatch(f"(.*{BEGIN}\n).*({END}.*)", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no table between {BEGIN!r} and {END!r}")
    return f"{found[1]}\n{table()}\n{found[2]}"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text()))
