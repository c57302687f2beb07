"""TLS of the client's connections."""

import asyncio
import ssl
from functools import cache


@cache
def default_context() -> ssl.SSLContext:
    """Return the default TLS context. The context is cached, because loading the trusted certificates is slow."""
    return ssl.create_default_context()


def is_end_authentic(transport: asyncio.Transport | None) -> bool:
    """Return whether the server, and not an attacker, has closed a connection.

    With TLS, only a closure alert proves that the server has closed the connection (RFC 9112, 9.8). Without an alert,
    asyncio calls ``eof_received``, and uvloop does not.
    """
    tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return not tls.read(1)
    except ssl.SSLError:  # SSLWantReadError, if no alert has arrived
        return False
