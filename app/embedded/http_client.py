"""The HTTP client of the embedded services."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import httpx


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS context, cached because reading the trusted certificates is slow."""
    return httpx.create_ssl_context()


def client(**options: Any) -> httpx.AsyncClient:
    """Make an HTTP client that ignores environment variables."""
    return httpx.AsyncClient(verify=_tls(), trust_env=False, **options)
