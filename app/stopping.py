"""Stops the server: waits for running operations, cancels slow operations, and exits.

Without this module, uvicorn closes sockets with code 1012 at once, cuts streams at its timeout, and logs a traceback
for each stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from app.connections.accepting import Acceptor
from app.connections.early import EarlyProbes
from app.drain import Drain, Stage
from app.log_lines import flush_lines
from app.operations import OperationsPort
from app.telemetry import Telemetry
from app.workers.messages import END_DRAIN

DETACH_SECONDS = 1.0
"""The time between detaching streams' readers and the grace period's end, in seconds.

The time is at most a fifth of the grace period.
"""

DETACHED_PER_SECOND = 1000
"""The gateway detaches readers and closes idle WebSockets at most at about this rate, per second.

Otherwise, all clients would reconnect to the other replicas at the same moment.
"""

LAST_SECONDS = 0.15
"""How long cancelled operations and closed connections may take to end, in seconds."""

CLOSE_SECONDS = 0.5
"""The timeout for closing the application, in seconds."""


class Server(uvicorn.Server):
    """uvicorn's server with a graceful shutdown.

    After the first signal, the server waits for running operations. The second signal ends the wait. The third signal
    ends the process at once.

    Args:
        grace: the grace period, in seconds.
        operations: the operations port, which is open from the start to the end.
        early: answers probes until the gateway is open.
        is_worker: whether a supervisor stops the process. The second signal is then ``END_DRAIN``.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        telemetry: Telemetry,
        *,
        grace: float,
        operations: OperationsPort | None = None,
        early: EarlyProbes | None = None,
        is_worker: bool = False,
    ) -> None:
        super().__init__(config)
        self._is_worker = is_worker
        self._early = early
        self._operations = operations
        self._drain = drain
        self._telemetry = telemetry
        self._grace = grace
        self._signals = 0
        self._second_signal = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None
        self._acceptor: Acceptor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to accept connections."""
        if self._is_worker:
            signal.signal(END_DRAIN, self.handle_exit)
        await super().startup(sockets)
        if self._operations is not None and not self.should_exit:
            await self._operations.start()
        self._acceptor = Acceptor(list(sockets or ()), self._protocol)
        self._acceptor.start()
        for listener, kept in ({} if self._early is None else self._early.stop()).items():
            if listener in (sockets or ()):
                self._acceptor.take(kept)
            elif self._operations is not None:
                self._operations.take(kept)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """Count a received signal. ``on_tick`` reacts to the signal."""
        if self._is_worker and self._signals and sig != END_DRAIN:
            return
        self._captured_signals.append(sig if sig != END_DRAIN else signal.SIGTERM)
        self._signals += 1
        if self._signals > 1:
            for handled in (signal.SIGINT, signal.SIGTERM):
                signal.signal(handled, signal.SIG_DFL)
            if not self.started:
                flush_lines()
                os._exit(128 + sig)  # nothing is open yet, and for PID 1 a default handler does nothing

    async def on_tick(self, counter: int) -> bool:
        """React to received signals. uvicorn calls this method ten times per second."""
        if self._signals and self._draining is None:
            self._draining = asyncio.create_task(self._drained())
        if self._signals > 1:
            self._second_signal.set()
        return await super().on_tick(counter)

    async def _drained(self) -> None:
        """Advance through the stages of stopping. When no operation runs, skip the remaining stages."""
        try:
            notice = min(DETACH_SECONDS, self._grace / 5)
            self._drain.advance(Stage.DRAINING, self._spread(self._grace / 2))
            self._announce()
            if not await self._idle_within(self._grace - notice):
                self._drain.advance(Stage.DETACHING, self._spread(notice / 2))
                if not await self._idle_within(notice):
                    self._drain.advance(Stage.CUTTING)
                    await self._idle_within(LAST_SECONDS)
        finally:
            self.should_exit = True

    def _spread(self, longest: float) -> float:
        """Return the time within which all readers are detached, in seconds. After a second signal, it is 0."""
        return 0 if self._signals > 1 else min(longest, self._drain.connections / DETACHED_PER_SECOND)

    async def _idle_within(self, seconds: float) -> bool:
        """Wait until no operation runs. Return whether all operations ended.

        After a second signal, the wait is short.
        """
        idle, second = asyncio.create_task(self._drain.idle()), asyncio.create_task(self._second_signal.wait())
        try:
            done, _ = await asyncio.wait({idle, second}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if idle not in done and second in done:
                done, _ = await asyncio.wait({idle}, timeout=min(seconds, LAST_SECONDS))
            return idle in done
        finally:
            idle.cancel()
            second.cancel()

    def _announce(self) -> None:
        streams, requests = self._drain.streams, self._drain.requests
        running = [_counted(streams, "stream"), _counted(requests, "request")]
        text = "Stopping."
        if streams or requests:
            awaited = " and ".join(one for one in running if one)
            text = f"Stopping: waiting up to {self._grace:g} s for {awaited}. Press Ctrl-C again to stop now."
        self._telemetry.announce("stopping", text, grace_seconds=self._grace, streams=streams, requests=requests)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listening sockets, the connections and the application. Each step has a timeout."""
        if self._acceptor is not None:
            self._acceptor.stop()
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        await _wait(self._closes_sockets, LAST_SECONDS)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await _wait(self._is_busy, LAST_SECONDS)
        self._drain.advance(Stage.CUTTING)
        await self._abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.lifespan.shutdown()
        if self._operations is not None:  # last, so that probes see the drain until its end
            await self._operations.stop()
        self._telemetry.announce("stopped", "Stopped.")

    def _closes_sockets(self) -> bool:
        return any(getattr(one, "close_sent", False) for one in self.server_state.connections)

    def _is_busy(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)

    async def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        answering = list(self.server_state.tasks)
        for task in answering:
            task.cancel()
        if answering:
            await asyncio.wait(answering, timeout=LAST_SECONDS)


async def _wait(is_pending: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while is_pending() and loop.time() < end:  # noqa: ASYNC110 - uvicorn has no event for a closed connection
        await asyncio.sleep(0.01)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}" if number else ""
