"""uvicorn's HTTP protocol with less memory per connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _NoPipeline(deque[Any]):
    def appendleft(self, _: Any) -> None:
        """Raise RuntimeError. A request in this queue would never be served."""
        raise RuntimeError("a pipelined request was parsed before the previous answer")


_NO_PIPELINE = _NoPipeline()
"""Replaces uvicorn's queue of pipelined requests.

The queue is always empty, because ``Connection`` parses a request only after the previous answer.
"""


class LeanProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with less memory per connection.

    The class replaces a queue that takes 760 bytes.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pipeline = _NO_PIPELINE
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def awaits_request(self) -> bool:
        """Whether the connection has received no byte of its next request."""
        raise NotImplementedError

    def await_request(self) -> None:
        """Close the connection if it is idle for the keep-alive time.

        The timer stays during requests. uvicorn starts and cancels a timer for each request.
        """
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_idle(self.timeout_keep_alive)

    def _wait_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self._on_idle)

    def _on_idle(self) -> None:
        self.timeout_keep_alive_task = None
        if self.awaits_request:
            left = self._idle_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self._wait_idle(left)
            else:
                self.timeout_keep_alive_handler()

    def _start_timer(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, act)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
