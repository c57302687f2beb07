"""Chooses a response's media type."""

from __future__ import annotations

from functools import lru_cache

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
    return list(accepted_by(accept))


def accepted_by(accept: str | None) -> tuple[str, ...]:
    """Return the media types of ``accepted`` as a tuple, which needs no copy."""
    if not accept:
        return (PLAIN_JSON,)
    read = _supported if len(accept) <= _CACHED_CHARS else _supported.__wrapped__
    return read(accept)


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
