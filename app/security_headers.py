"""The response headers that protect browsers. Pages have a stricter Content-Security-Policy of their own."""

from __future__ import annotations

from starlette.types import Message, Scope

from app.asgi import NO_SNIFF

_ALWAYS = (
    (NO_SNIFF[0].lower().encode(), NO_SNIFF[1].encode()),
    (b"content-security-policy", b"frame-ancestors 'none'"),  # Content Security Policy 3, 6.4.2
)


class SecurityHeaders:
    """Adds headers to responses.

    Args:
        hsts_seconds: how long browsers must use https for this host, in seconds (RFC 6797, 6.1.1); 0 for no rule.
    """

    def __init__(self, hsts_seconds: int) -> None:
        hsts = (b"strict-transport-security", f"max-age={hsts_seconds}".encode())
        self._over_https = (*_ALWAYS, hsts) if hsts_seconds else _ALWAYS

    def add(self, message: Message, scope: Scope) -> None:
        """Add the headers that a response to a request lacks.

        HSTS is sent over https only, since browsers ignore the rule of a plain response (RFC 6797, 7.2).
        """
        headers = list(message.get("headers", ()))
        names = {name for name, _ in headers}
        fields = self._over_https if scope.get("scheme") == "https" else _ALWAYS
        message["headers"] = headers + [field for field in fields if field[0] not in names]
