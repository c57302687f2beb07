"""The headers of every response: the request's id, CORS and the headers that protect browsers.

Pages have a stricter Content-Security-Policy of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.asgi import NO_SNIFF, header
from clients.bounded import Lru

Fields = tuple[tuple[bytes, bytes], ...]

REQUEST_ID = "X-Request-ID"
MAX_ORIGINS = 256
"""Maximum number of origins whose headers are prepared. The least recently used one is evicted first."""

_REQUEST_ID = REQUEST_ID.lower().encode()
_VARY, _ORIGIN = b"vary", b"Origin"
_PROTECTION: Fields = (
    (NO_SNIFF[0].lower().encode(), NO_SNIFF[1].encode()),
    (b"content-security-policy", b"frame-ancestors 'none'"),  # Content Security Policy 3, 6.4.2
)


class ResponseHeaders:
    """Adds headers to responses. The headers for an origin are prepared once.

    Args:
        cors: the options of starlette's ``CORSMiddleware``, which answers preflights; ``None`` for no CORS.
        hsts_seconds: how long browsers must use https for this host, in seconds (RFC 6797, 6.1.1); 0 for no rule.
    """

    def __init__(self, cors: Mapping[str, Any] | None = None, hsts_seconds: int = 0) -> None:
        self._cors = None if cors is None else CORSMiddleware(_nothing, **cors)
        self._exposed = _raw({} if self._cors is None else self._cors.simple_headers)
        hsts = (b"strict-transport-security", f"max-age={hsts_seconds}".encode())
        self._over_https = (*_PROTECTION, hsts) if hsts_seconds else _PROTECTION
        self._readable: Lru[str, Fields] = Lru(MAX_ORIGINS)

    def add(self, message: Message, scope: Scope, *, closes: bool = False) -> None:
        """Add the headers to the message that begins a response. ``closes`` tells the client to close the connection.

        HSTS is sent over https only, since browsers ignore the rule of a plain response (RFC 6797, 7.2). A header that
        the response has stays.
        """
        added = self.of(scope)
        headers = list(message.get("headers", ()))
        names = dict(headers)
        if not _SET_BY_SOME.isdisjoint(names):
            added = [field for field in added if field[0] not in names or field[0] == _VARY]
            if _VARY in names:
                headers, added = _joined_vary(headers), [field for field in added if field[0] != _VARY]
        if closes:
            headers = [field for field in headers if field[0] != b"connection"]
            added.append((b"connection", b"close"))
        headers += added
        message["headers"] = headers

    def of(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers of the response to a request with the id ``scope["state"]["request_id"]``."""
        fields = [(_REQUEST_ID, scope["state"]["request_id"].encode())]
        if self._cors is not None and scope["type"] == "http":
            fields.append((_VARY, _ORIGIN))
            if (origin := header(scope, b"origin")) is not None:
                fields += self._for_origin(origin)
        fields += self._over_https if scope.get("scheme") == "https" else _PROTECTION
        return fields

    def readable_by(self, scope: Scope) -> str | None:
        """Return the origin of the page that sends the request, if CORS lets the page read the answer."""
        origin = header(scope, b"origin")
        allowed = origin is not None and self._cors is not None and self._cors.is_allowed_origin(origin)
        return origin if allowed else None

    def preflight(self, scope: Scope) -> Response | None:
        """Return the answer to a CORS preflight, or ``None`` for any other request."""
        if self._cors is None:
            return None
        headers = Headers(scope=scope)
        if "origin" not in headers or "access-control-request-method" not in headers:
            return None
        return self._cors.preflight_response(request_headers=headers)

    def _for_origin(self, origin: str) -> Fields:
        """Return the headers with which a browser lets a page of the origin read the answer."""
        found = self._readable.get(origin)
        if found is None:
            found = self._allowing(origin)
            self._readable.put(origin, found)
        return found

    def _allowing(self, origin: str) -> Fields:
        if self._cors is None or not self._cors.is_allowed_origin(origin):
            return ()
        if self._cors.allow_all_origins:  # the headers already allow all origins
            return self._exposed
        return (*self._exposed, (b"access-control-allow-origin", origin.encode("latin-1")))


_SET_BY_SOME = {_VARY, *(name for name, _ in _PROTECTION), b"strict-transport-security"}


def _joined_vary(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    values = [value for name, value in headers if name == _VARY]
    others = [field for field in headers if field[0] != _VARY]
    names = [name.strip().lower() for value in values for name in value.split(b",")]
    return [*others, (_VARY, b", ".join(values if _ORIGIN.lower() in names else [*values, _ORIGIN]))]


def _raw(fields: Mapping[str, str]) -> Fields:
    return tuple((name.lower().encode(), value.encode()) for name, value in fields.items())


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the application of ``CORSMiddleware``, which only answers preflights."""
