"""HTTP/1.0 for uvicorn, which would answer it as HTTP/1.1. nginx uses it for upstreams by default."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.lean import LeanProtocol


class Http10Protocol(LeanProtocol):
    """uvicorn's HTTP protocol, without chunks and interim answers for HTTP/1.0 clients."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False
            app = _Unchunked(app, cycle)
        super()._start_asgi_task(cycle, app)


class _Unchunked:
    """Ends a body without a length by closing its connection (RFC 9112, 6.1 and 6.3)."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
