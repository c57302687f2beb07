"""Makes uvicorn answer HTTP/1.0 requests in HTTP/1.0. By default, nginx sends such requests to upstreams."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.lean import LeanProtocol


class Http10Protocol(LeanProtocol):
    """Extends uvicorn's HTTP protocol: HTTP/1.0 clients receive no chunked bodies or interim responses."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False
            app = Unchunked(app, cycle)
        super()._start_asgi_task(cycle, app)


class Unchunked:
    """An ASGI application that ends a body without a length by closing the connection (RFC 9112, 6.1 and 6.3)."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        unmeasured = False

        async def unchunked(message: Message) -> None:
            nonlocal unmeasured
            if message["type"] == "http.response.start":
                unmeasured = all(name.lower() != b"content-length" for name, _ in message.get("headers", []))
                if unmeasured:
                    self._cycle.chunked_encoding = False
            elif unmeasured:
                self._cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, unchunked)
