"""Writes a streamed HTTP response, with heartbeats while there is no data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self


class HeartbeatWriter:
    """Writes a stream's chunks. After each interval without a chunk, writes a heartbeat.

    One timer serves the whole stream. While the client does not read, only one chunk or heartbeat waits.

    Args:
        seconds: the interval without data before a heartbeat.
        heartbeat: the bytes of a heartbeat. The attribute may be changed.
    """

    __slots__ = ("_beat", "_is_over", "_loop", "_seconds", "_silent_since", "_timer", "_write", "heartbeat")

    def __init__(self, write: Callable[[bytes], Awaitable[None]], seconds: float, heartbeat: bytes) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self.heartbeat = heartbeat
        self._write = write
        self._seconds = seconds
        self._silent_since: float | None = loop.time()
        self._timer = loop.call_later(seconds, self._due)
        self._beat: asyncio.Task[None] | None = None
        self._is_over = False

    async def write(self, chunk: bytes) -> None:
        """Write a chunk. If a heartbeat is being written, wait first.

        Raise an error if the chunk or heartbeat cannot be written.
        """
        if self._beat is not None:
            await self._beat
        self._silent_since = None
        await self._write(chunk)
        self._silent_since = self._loop.time()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._is_over, self._silent_since = True, None
        self._timer.cancel()
        if self._beat is not None and kind is None:
            await self._beat
        elif self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)

    def _due(self) -> None:
        since = self._silent_since
        rest = self._seconds if since is None else since + self._seconds - self._loop.time()
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._due)
        else:
            self._silent_since = None
            self._beat = asyncio.create_task(self._write_heartbeat())

    async def _write_heartbeat(self) -> None:
        await self._write(self.heartbeat)
        self._beat, self._silent_since = None, self._loop.time()
        if not self._is_over:
            self._timer = self._loop.call_later(self._seconds, self._due)
