"""Requests of the tests of the HTTP client."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx


class Seen(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


def request(
    url: str, method: str = "GET", *, body: bytes = b"", extensions: dict[str, Any] | None = None, **timeouts: float
) -> httpx.Request:
    return httpx.Request(method, url, content=body, extensions={"timeout": timeouts, **(extensions or {})})


async def call(transport: httpx.AsyncBaseTransport, url: str, method: str = "GET", **options: Any) -> Seen:
    """Send a request, and read the whole answer."""
    response = await transport.handle_async_request(request(url, method, **options))
    try:
        body = await response.aread()
    finally:
        await response.aclose()
    return Seen(response.status_code, response.headers, body)
