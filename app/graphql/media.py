"""The media types of results: their framing, and the choice by ``Accept`` (RFC 9110, 12.5.1)."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import orjson

from app.graphql.results import Result

RESPONSE_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/mixed"
HTML = "text/html"

WHOLE = (RESPONSE_JSON, PLAIN_JSON)
"""One result in one body (GraphQL over HTTP)."""

_CACHED_CHARS = 256
"""The longest header that is cached. Clients send the same few headers again and again."""

_WILDCARDS = {"*/*": (PLAIN_JSON,), "application/*": (RESPONSE_JSON, PLAIN_JSON)}
_KNOWN = frozenset({RESPONSE_JSON, PLAIN_JSON, EVENT_STREAM, MULTIPART})
_RANKED = _KNOWN | _WILDCARDS.keys() | {HTML}

MAX_ACCEPT_CHARS = 2048
"""The most characters of an ``Accept`` header that are read. ``agentgraph serve`` refuses longer headers."""


def accepted(accept: str | None) -> list[str]:
    """Return the supported media types that an ``Accept`` header accepts, the preferred one first."""
    if not accept:
        return [PLAIN_JSON]
    read = _known if len(accept) <= _CACHED_CHARS else _known.__wrapped__
    return list(read(accept))


@lru_cache(maxsize=256)
def _known(accept: str) -> tuple[str, ...]:
    found: list[str] = []
    for name, parameters in _ranked(accept):
        if not (name == MULTIPART and not _is_subscription_spec(parameters)):
            found += _WILDCARDS.get(name, (name,) if name in _KNOWN else ())
    return tuple(dict.fromkeys(found))


def prefers_page(accept: str | None) -> bool:
    """Whether a client prefers HTML to all supported media types, as a browser's address bar does."""
    for name, _ in _ranked(accept or ""):
        if name == HTML or name in _KNOWN or name in _WILDCARDS:
            return name == HTML
    return False


def _ranked(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Return the known media types of an ``Accept`` header with their parameters, the preferred one first."""
    ranked: list[tuple[float, str, dict[str, str]]] = []
    for part in accept[:MAX_ACCEPT_CHARS].split(","):
        name, _, rest = part.partition(";")
        if (name := name.strip().lower()) not in _RANKED:
            continue
        parameters = _parameters(rest) if rest else {}
        if (quality := _quality(parameters.get("q"))) > 0:
            ranked.append((-quality, name, parameters))
    ranked.sort(key=lambda one: one[0])
    return [(name, parameters) for _, name, parameters in ranked]


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _quality(value: str | None) -> float:
    try:
        return 1.0 if value is None else float(value)
    except ValueError:
        return 0.0


def _is_subscription_spec(parameters: dict[str, str]) -> bool:
    """Whether multipart is requested for subscriptions, not for incremental delivery of a query."""
    incremental = {"deferspec", "incrementalspec"} & parameters.keys()
    return not incremental and parameters.get("subscriptionspec", "1.0") == "1.0"


class Framing(Protocol):
    """How the results of an operation are delimited in one response body."""

    content_type: str
    begin: bytes
    heartbeat: bytes
    end: bytes

    def result(self, result: Result) -> bytes:
        """Encode one result."""

    def last(self, reason: str | None) -> bytes:
        """Return the end, with the reason of a detach if the framing can carry it."""


class ServerSentEvents:
    """GraphQL over Server-Sent Events, distinct connections mode. Lines end in LF: some clients split at that alone."""

    content_type = f"{EVENT_STREAM}; charset=utf-8"
    begin = b""
    heartbeat = b":\n\n"
    end = b"event: complete\ndata:\n\n"

    def result(self, result: Result) -> bytes:
        """Encode a ``next`` event."""
        return b"event: next\ndata: " + orjson.dumps(result.body()) + b"\n\n"

    def last(self, reason: str | None) -> bytes:
        """Return a ``complete`` event, with the reason as a comment."""
        return self.end if reason is None else f": {reason}\n".encode() + self.end


class MultipartSubscription:
    """Apollo's multipart protocol for subscriptions over HTTP, 1.0.

    Each part is sent with its closing boundary, since clients wait for it.
    """

    content_type = f'{MULTIPART}; boundary="graphql"; subscriptionSpec="1.0"'
    begin = b"\r\n--graphql"
    heartbeat = b"\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql"
    end = b"--\r\n"

    def result(self, result: Result) -> bytes:
        """Encode a part with one payload."""
        body = orjson.dumps({"payload": result.body()})
        return b"\r\nContent-Type: application/json\r\n\r\n" + body + b"\r\n--graphql"

    def last(self, reason: str | None) -> bytes:  # noqa: ARG002 - the framing cannot carry it
        """Return the closing boundary."""
        return self.end


FRAMINGS: dict[str, Framing] = {EVENT_STREAM: ServerSentEvents(), MULTIPART: MultipartSubscription()}
"""The framings of the media types that carry many results."""
