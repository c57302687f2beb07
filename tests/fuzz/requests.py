"""Strategies for HTTP requests as bytes: almost valid ones, and hostile ones."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

QUERIES = (
    "{ viewer { id email } }",
    "{ viewer { agents(first: 2) { nodes { id name } } } }",
    "query($i: [ID!]!) { nodes(ids: $i) { id } }",
    "{ __schema { queryType { name } } }",
    "mutation($i: CompletionInput!) { complete(input: $i) { __typename } }",
    'subscription { stream(id: "stream:none") { __typename } }',
    "{ a: viewer { ...F } b: viewer { ...F } } fragment F on User { id }",
)
PATHS = (
    *("/graphql", "/v1/chat/completions", "/v1/embeddings", "/v1/models", "/ping", "/health", "/", "/docs", "/nope"),
    "/api/v1/agents/a0a0a0a0-1111-4111-8111-000000000001/proxy/chat/completions",
    "/graphql?query=%7Bviewer%7Bid%7D%7D",
    "/graphql?query=%ff&variables=%7B",
    "/v1/models/gpt-4o-mini",
)
NAMES = (
    *("accept", "content-type", "content-encoding", "traceparent", "tracestate", "x-request-id", "origin", "cookie"),
    *("idempotency-key", "x-stream-continue", "expect", "connection", "upgrade", "te", "range", "if-none-match"),
    *("x-forwarded-for", "forwarded", "host", "x-agentgraph-cost"),
)
VALUES = (
    *("application/json", "text/event-stream", "multipart/mixed;subscriptionSpec=1.0", "*/*", "gzip", "deflate", "br"),
    *("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0-0-0", "true", "100-continue", "close", "q=0.5"),
    *("application/json; charset=utf-16", "application/graphql-response+json;q=nan, */*;q=1e999", "keep-alive", "h2c"),
)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@dataclass(frozen=True)
class Sent:
    """A request: its bytes, in the pieces they are written in, and whether it is complete."""

    pieces: tuple[bytes, ...]
    whole: bool


def _graphql(query: str, variables: Any, extra: dict[str, Any]) -> dict[str, Any]:
    return {"query": query, "variables": variables, **extra}


def _chat(content: Any, extra: dict[str, Any]) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], **extra}


_extras = st.dictionaries(
    st.sampled_from(
        ("stream", "tools", "stop", "n", "max_tokens", "operationName", "extensions", "seed", "user", "input")
    ),
    values,
    max_size=2,
)
objects = (
    st.builds(_graphql, st.sampled_from(QUERIES) | texts, st.none() | values, _extras)
    | st.builds(_chat, st.just("hi [[tokens=1]]") | values, _extras)
    | st.builds(lambda value: {"model": "text-embedding-3-small", "input": value}, values)
    | values
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Generate a body: JSON, damaged JSON, or any bytes."""
    body = json.dumps(draw(objects)).encode()
    match draw(st.integers(0, 5)):
        case 0:
            cut = draw(st.integers(0, len(body)))
            return body[:cut] + draw(st.binary(max_size=6)) + body[cut:]
        case 1:
            return body[: draw(st.integers(0, len(body)))]
        case 2:
            return draw(st.binary(max_size=200))
        case 3:
            opening = draw(st.sampled_from((b"[", b'{"a":', b'{"query":"{')))
            return opening * draw(st.integers(1, 3000))
        case _:
            return body


def _token(text: str) -> bytes:
    return text.encode("latin-1", "replace")


headers = st.lists(
    st.tuples(
        st.sampled_from(NAMES) | st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True),
        st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255), max_size=30) | st.just("a," * 500),
    ),
    max_size=4,
)
trailers = st.lists(st.tuples(st.sampled_from(("authorization", "content-length", "x-a", "host")), texts), max_size=3)


def _coded(body: bytes, coding: str) -> bytes:
    pack: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    return pack.get(coding, bytes)(body)


@st.composite
def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Return the body in chunks, with extensions and trailers."""
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=5)))
    out, start = b"", 0
    for end in [*cuts, len(body)]:
        if end > start:
            extension = draw(st.sampled_from((b"", b";a=b", b' ; x="y z"')))
            out += f"{end - start:x}".encode() + extension + b"\r\n" + body[start:end] + b"\r\n"
        start = end
    last = draw(st.sampled_from((b"0\r\n", b"000\r\n", b"0;last\r\n")))
    fields = b"".join(_token(f"{name}: {value}\r\n") for name, value in draw(trailers))
    return out + last + fields + b"\r\n"


@st.composite
def requests(draw: st.DrawFn, token: str) -> Sent:
    """Generate a request to any door, with or without a token."""
    method = draw(st.sampled_from(("POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "BREW")))
    path, version = draw(st.sampled_from(PATHS)), draw(st.sampled_from(("1.1", "1.1", "1.1", "1.0")))
    fields = [("host", "localhost"), ("content-type", "application/json"), ("connection", "close")]
    if draw(st.booleans()):
        fields.append(("authorization", f"Bearer {token}"))
    coding = draw(st.sampled_from(("", "", "", "gzip", "deflate", "br")))
    if coding:
        fields.append(("content-encoding", coding))
    fields += draw(headers)
    body = b"" if method in {"GET", "HEAD", "OPTIONS"} else _coded(draw(bodies()), coding)
    whole = True
    if body and draw(st.booleans()):
        fields.append(("transfer-encoding", "chunked"))
        body = draw(_chunked(body))
    elif body:
        wrong = draw(st.sampled_from((0, 0, 0, 0, 1, -1)))
        whole = wrong <= 0
        fields.append(("content-length", str(max(0, len(body) + wrong))))
    head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    return Sent(draw(pieces(_token(head) + body)), whole)


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> tuple[bytes, ...]:
    """Split bytes at random."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if end > start)
