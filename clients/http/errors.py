"""Errors of the HTTP client that httpx has no class for."""

import httpx


class IdleConnectionDropped(httpx.RemoteProtocolError):
    """The server closed a reused connection before the first byte of the answer."""
