"""A worker's connection to its supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from itertools import count

from prometheus_client import CollectorRegistry

from app.usage import UsageError
from app.workers.messages import (
    Answer,
    Ask,
    Collect,
    Collected,
    Message,
    Ready,
    Welcome,
    framed,
    received,
    received_now,
)
from app.workers.samples import Snapshot, exposition, snapshot

ANSWER_SECONDS = 3.0
"""The timeout for the metrics of all workers, in seconds."""


class Link:
    """Reports the worker's metrics to the supervisor, and stops the worker when the supervisor has ended.

    Args:
        descriptor: the file descriptor of the worker's end of the socket pair.

    Raises:
        UsageError: the descriptor does not belong to a supervisor's socket pair.
    """

    def __init__(self, descriptor: int) -> None:
        try:
            self._socket = socket.socket(fileno=descriptor)
            first = received_now(self._socket)
        except OSError:  # the descriptor is not a connected socket
            first = None
        if not isinstance(first, Welcome):
            raise UsageError("--worker is an internal option. To start workers, use agentgraph serve --workers N.")
        self.welcome = first
        self._registry = CollectorRegistry()
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Snapshot]] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, registry: CollectorRegistry, stack: AsyncExitStack) -> None:
        """Send the metrics of ``registry`` when the supervisor requests them, until ``stack`` is closed."""
        self._registry = registry
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        task = asyncio.create_task(self._answer(reader))

        async def close() -> None:
            task.cancel()
            self._send(Collected(0, snapshot(registry)))
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._drained()

        stack.push_async_callback(close)

    def ready(self) -> None:
        """Notify the supervisor that the worker accepts requests."""
        self._send(Ready())

    async def exposition(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format.

        If the supervisor does not answer in time, return the worker's own metrics.
        """
        number = next(self._numbers)
        self._asked[number] = future = asyncio.get_running_loop().create_future()
        self._send(Ask(number))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                families = await future
        except TimeoutError:
            families = await asyncio.to_thread(snapshot, self._registry)
        finally:
            del self._asked[number]
        return await asyncio.to_thread(exposition, families)

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        while (message := await received(reader)) is not None:
            match message:
                case Collect(number):
                    self._send(Collected(number, await asyncio.to_thread(snapshot, self._registry)))
                case Answer(number, metrics):
                    if (future := self._asked.get(number)) is not None and not future.done():
                        future.set_result(metrics)
                case _:
                    pass
        os.kill(os.getpid(), signal.SIGTERM)  # without a supervisor, an ended worker would not be restarted

    def _send(self, message: Message) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(framed(message))

    async def _drained(self) -> None:
        if self._writer is not None:
            self._writer.close()
            await self._writer.wait_closed()
