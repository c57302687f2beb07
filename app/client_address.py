"""Finds the address of a request's client, which a trusted proxy reports in ``X-Forwarded-For``."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, ip_network
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.addresses import ALL_PROXIES
from app.asgi import run_now

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_MAPPED_BITS = 96
"""The length of the prefix ``::ffff:0:0`` of IPv4-mapped addresses, in bits (RFC 4291, 2.5.5.2)."""


def with_client_address(app: ASGIApp, trusted: str) -> ASGIApp:
    """Return an application that sets each request's client address and scheme, and then calls ``app``.

    If the peer is trusted, the address is the last one in ``X-Forwarded-For`` that is not trusted. A client can write
    only the addresses before it. All other peers' headers are ignored.

    Args:
        app: the application.
        trusted: addresses and networks, separated by commas, or ``*``.
    """
    texts = [text for text in trusted.split(",") if text]
    mapped = [one for text in texts if text != ALL_PROXIES for one in _mapped(text)]
    return ProxyHeadersMiddleware(app, [*texts, *mapped])  # type: ignore[arg-type, return-value] # uvicorn's own types


def locator(trusted: str) -> Callable[[Scope], None]:
    """Return a function that sets a request's client address and scheme like ``with_client_address``."""

    async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    located = with_client_address(nothing, trusted)

    def locate(scope: Scope) -> None:
        for name, _ in scope["headers"]:
            if name in _FORWARDED:
                run_now(located(scope, _never, _never))
                return

    return locate


async def _never(*_: Any) -> Any:
    """Stand for the channels of an application that neither receives nor sends."""


def _mapped(text: str) -> list[str]:
    """Return the form in which sockets for both protocols report IPv4 addresses, such as ``::ffff:10.0.0.0/104``.

    Proxies write this form to ``X-Forwarded-For`` too.
    """
    network = ip_network(text.partition("%")[0])
    if not isinstance(network, IPv4Network):
        return []
    return [f"::ffff:{network.network_address}/{_MAPPED_BITS + network.prefixlen}"]
