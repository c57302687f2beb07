"""Finds the address of a request's client, which a trusted proxy reports in ``X-Forwarded-For``."""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

ALL = "*"
_MAPPED = "::ffff:"


class ClientAddress:
    """Middleware that sets the client's address and the scheme.

    If the peer is trusted, the address is the last one in ``X-Forwarded-For`` that is not trusted. A client can write
    only the addresses before it. All other peers' headers are ignored.

    Args:
        trusted: addresses and networks, separated by commas, or ``*``.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        self._app = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type] # uvicorn has its own ASGI types

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        client = scope.get("client")
        if client is not None and client[0].startswith(_MAPPED) and "." in client[0]:
            # an IPv4 client of a socket that listens on ::
            scope["client"] = (client[0].removeprefix(_MAPPED), client[1])
        return self._app(scope, receive, send)  # type: ignore[arg-type]


def proxies(value: str) -> str:
    """Validate ``FORWARDED_ALLOW_IPS``. Raises ValueError: uvicorn would ignore what is no address."""
    texts = [text.strip() for text in value.split(",") if text.strip()]
    if ALL in texts and len(texts) > 1:
        raise ValueError("* trusts all proxies, so write either * or addresses")
    for text in texts if texts != [ALL] else ():
        try:
            ip_network(text) if "/" in text else ip_address(text)
        except ValueError as error:
            problem = "has host bits set" if "host bits" in str(error) else "is no IP address and no network"
            raise ValueError(f"{text[:80]!r} {problem}. Write addresses or networks, such as 10.0.0.0/8") from None
    return ",".join(texts)
