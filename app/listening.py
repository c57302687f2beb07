"""Binds the sockets on which the gateway listens."""

from __future__ import annotations

import socket


def bound(host: str, port: int) -> socket.socket:
    """Return a TCP socket with an address of this machine. The socket does not listen yet. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener
