"""Errors of the HTTP client that httpx has no class for."""

import httpx


class IdleConnectionDropped(httpx.RemoteProtocolError):
    """The service closed an idle connection before the service answered."""
