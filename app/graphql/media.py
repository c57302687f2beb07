"""Chooses a response's media type, and encodes several results in one body."""

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
"""The media types of responses that contain one result (GraphQL over HTTP)."""

_CACHED_CHARS = 256
"""``Accept`` headers of at most this many characters are cached. Clients repeat the same few headers."""

_WILDCARDS = {"*/*": (PLAIN_JSON,), "application/*": (RESPONSE_JSON, PLAIN_JSON)}
_SUPPORTED = frozenset({RESPONSE_JSON, PLAIN_JSON, EVENT_STREAM, MULTIPART})
_RANKED = _SUPPORTED | _WILDCARDS.keys() | {HTML}

MAX_ACCEPT_CHARS = 2048
"""The gateway reads at most this many characters of an ``Accept`` header."""


def accepted(accept: str | None) -> list[str]:
    """Return the supported media types that ``Accept`` allows, most preferred first (RFC 9110, 12.5.1)."""
    if not accept:
        return [PLAIN_JSON]
    read = _supported if len(accept) <= _CACHED_CHARS else _supported.__wrapped__
    return list(read(accept))


@lru_cache(maxsize=256)
def _supported(accept: str) -> tuple[str, ...]:
    found: list[str] = []
    for name, parameters in _ranked(accept):
        if not (name == MULTIPART and not _is_subscription_spec(parameters)):
            found += _WILDCARDS.get(name, (name,) if name in _SUPPORTED else ())
    return tuple(dict.fromkeys(found))


def prefers_page(accept: str | None) -> bool:
    """Return whether a client prefers an HTML page to a GraphQL response."""
    for name, _ in _ranked(accept or ""):
        if name == HTML or name in _SUPPORTED or name in _WILDCARDS:
            return name == HTML
    return False


def _ranked(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Return an ``Accept`` header's known media types with their parameters, in the client's order of preference."""
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
    """Return whether a client requests multipart for subscriptions.

    A client can also request multipart for incremental delivery (``@defer``).
    """
    incremental = {"deferspec", "incrementalspec"} & parameters.keys()
    return not incremental and parameters.get("subscriptionspec", "1.0") == "1.0"


class Framing(Protocol):
    """A format for several results in one response body."""

    content_type: str
    begin: bytes
    heartbeat: bytes
    end: bytes

    def result(self, result: Result) -> bytes:
        """Encode one result."""

    def last(self, reason: str | None) -> bytes:
        """Encode the end of a response body. Some formats include ``reason``."""


class ServerSentEvents:
    """Encodes results in the distinct connections mode of GraphQL over Server-Sent Events.

    Lines end with LF, which every client accepts.
    """

    content_type = f"{EVENT_STREAM}; charset=utf-8"
    begin = b""
    heartbeat = b":\n\n"
    end = b"event: complete\ndata:\n\n"

    def result(self, result: Result) -> bytes:
        """Encode a result as a ``next`` event."""
        return b"event: next\ndata: " + orjson.dumps(result.body()) + b"\n\n"

    def last(self, reason: str | None) -> bytes:
        """Encode a ``complete`` event. If ``reason`` is not ``None``, a comment before the event contains it."""
        return self.end if reason is None else f": {reason}\n".encode() + self.end


class MultipartSubscription:
    """Encodes results in version 1.0 of Apollo's multipart protocol for subscriptions over HTTP.

    Each part is sent with its closing boundary, because clients wait for the boundary.
    """

    content_type = f'{MULTIPART}; boundary="graphql"; subscriptionSpec="1.0"'
    begin = b"\r\n--graphql"
    heartbeat = b"\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql"
    end = b"--\r\n"

    def result(self, result: Result) -> bytes:
        """Encode a result as one part of the multipart body."""
        body = orjson.dumps({"payload": result.body()})
        return b"\r\nContent-Type: application/json\r\n\r\n" + body + b"\r\n--graphql"

    def last(self, reason: str | None) -> bytes:  # noqa: ARG002 - the framing cannot carry a reason
        """Return the bytes that close the multipart body."""
        return self.end


FRAMINGS: dict[str, Framing] = {EVENT_STREAM: ServerSentEvents(), MULTIPART: MultipartSubscription()}
"""The formats for several results in one body, by media type."""
