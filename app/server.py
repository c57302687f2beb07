"""The HTTP server of ``agentgraph serve``: uvicorn, with bounds on what a client may send before a request begins."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from app.http10 import Http10Protocol
from app.settings import Settings
from app.wire import BoundedSocket

MAX_HEAD_BYTES = 64 * 1024
"""The request line and headers; httptools has no bound of its own."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def protocol(head_seconds: float) -> type[Http10Protocol]:
    """Uvicorn's HTTP protocol, but a head that is too large is refused, and one that does not come is given up."""

    class BoundedHead(Http10Protocol):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._head_bytes = 0
            self._in_head = True
            self._head_timer: asyncio.TimerHandle | None = None

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_timer is None:
                    self._head_timer = self.loop.call_later(head_seconds, self.transport.abort)
            super().data_received(data)
            if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._stop_head_timer()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head, self._head_bytes = True, 0
            super().on_message_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_head_timer()
            super().connection_lost(exc)

        def _stop_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedHead


def server_config(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    """How the gateway is served."""
    return uvicorn.Config(
        app,
        http=protocol(settings.request_timeout),
        log_config=None,
        access_log=False,
        server_header=False,
        ws_ping_interval=settings.stream_heartbeat_seconds,
        ws_ping_timeout=settings.stream_heartbeat_seconds,
        ws=BoundedSocket,
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,
        **options,
    )
