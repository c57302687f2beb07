"""The HTTP client of the embedded services."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import httpx


@cache
def _tls() -> ssl.SSLContext:
    """Reading the trusted certificates takes a while: once per process."""
    return httpx.create_ssl_context()


def client(**options: Any) -> httpx.AsyncClient:
    """Make an HTTP client that reads no settings from the environment."""
    return httpx.AsyncClient(verify=_tls(), trust_env=False, **options)
