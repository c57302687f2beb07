"""Starts and restarts the workers, and stops all workers after a signal.

The workers inherit the listening sockets, so that waiting connections are not lost if a worker ends. Each worker has a
separate session, so that a terminal sends Ctrl-C only to the supervisor, which forwards the signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from app.logs import announce
from app.platform import Platform
from app.workers.hub import Hub, Peer
from app.workers.messages import END_DRAIN, Welcome

STABLE_SECONDS = 60.0
"""The lifetime, in seconds, after which a worker's end resets the number of consecutive failures."""

MAX_RESTART_SECONDS = 30.0
"""The maximum delay before a worker is restarted, in seconds."""

OVERTIME_SECONDS = 1.5
"""The time between the grace period's end and the moment at which the supervisor kills a worker, in seconds."""

_HANDLED = (signal.SIGTERM, signal.SIGINT)


def restart_delay(failures: int) -> float:
    """Return the delay before a worker is restarted, in seconds: 0, 1, 2, 4, … up to ``MAX_RESTART_SECONDS``.

    Args:
        failures: the number of consecutive failures, from 1. A failure is an end before ``STABLE_SECONDS``.
    """
    return 0.0 if failures <= 1 else min(2.0 ** min(failures - 2, 10), MAX_RESTART_SECONDS)


class Supervisor:
    """Supervises the workers of one gateway.

    Args:
        count: the number of workers.
        listeners: the listening socket, and the socket for ``OPERATIONS_PORT`` if there is one.
        platform: the addresses and keys of the embedded services.
        log: the gateway's log.
        grace: the grace period, in seconds.
    """

    def __init__(
        self, count: int, listeners: Sequence[socket.socket], platform: Platform, log: Any, *, grace: float
    ) -> None:
        self._count = count
        self._listeners = listeners
        self._platform = platform
        self._log = log
        self._grace = grace
        self._hub = Hub()
        self._processes: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()
        self._signal: signal.Signals | None = None
        self._signals = 0
        self._is_ready = False

    async def run(self) -> signal.Signals | None:
        """Run the workers until a signal arrives, and return the signal.

        Return ``None`` if a worker has ended before any worker was ready. The worker has printed the reason.
        """
        loop = asyncio.get_running_loop()
        for one in _HANDLED:
            loop.add_signal_handler(one, self._signalled, one)
        collecting = asyncio.create_task(self._hub.collect_at_intervals())
        killing = asyncio.create_task(self._kill_late())
        try:
            await asyncio.gather(*(self._keep(number + 1) for number in range(self._count)))
        finally:
            collecting.cancel()
            killing.cancel()
            await asyncio.wait([collecting, killing])
        return self._signal

    def _signalled(self, received: signal.Signals) -> None:
        """Forward the first signal. The second one ends the workers' drain, and the third one ends the workers."""
        self._signal = self._signal or received
        self._stop((received, END_DRAIN, signal.SIGKILL)[min(self._signals, 2)])
        self._signals += 1

    def _stop(self, how: signal.Signals) -> None:
        """Send a signal to all workers, and start no further workers."""
        self._stopping.set()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)

    async def _kill_late(self) -> None:
        await self._stopping.wait()
        await asyncio.sleep(self._grace + OVERTIME_SECONDS)
        for process in self._processes:
            self._log.error("worker killed", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, number: int) -> None:
        """Start a worker, and restart the worker each time it ends, until the gateway stops."""
        clock, failures = asyncio.get_running_loop().time, 0
        while not self._stopping.is_set():
            began = clock()
            status = await self._run(number)
            if self._stopping.is_set():
                return
            if not self._is_ready:
                self._stop(signal.SIGTERM)
                return
            failures = 1 if clock() - began > STABLE_SECONDS else failures + 1
            delay = restart_delay(failures)
            self._hub.restarts.inc()
            text = (
                f"Worker {number} has ended with the status {status}. The gateway restarts the worker in {delay:g} s."
            )
            announce(self._log, "worker ended", text, level="error", worker=number, status=status, delay=delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()

    async def _run(self, number: int) -> int | None:
        """Run a worker until it ends. Return its exit status, which is negative after a signal.

        Return ``None`` if the operating system cannot start a process.
        """
        mine, theirs = socket.socketpair()
        descriptors = [one.fileno() for one in self._listeners]
        inherited = [theirs.fileno(), *descriptors]
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *_command(theirs.fileno()), pass_fds=inherited, start_new_session=True
                )
            except OSError as error:  # too many processes, or no memory
                mine.close()
                self._log.error("worker not started", worker=number, exc_info=error)
                return None
        self._processes.add(process)
        self._log.info("worker started", worker=number, pid=process.pid)
        if self._stopping.is_set():  # a signal arrived while the process started
            process.terminate()
        welcome = Welcome(number, descriptors[0], descriptors[1] if len(descriptors) > 1 else None, self._platform)
        peer = Peer(*await asyncio.open_unix_connection(sock=mine))
        serving = asyncio.create_task(self._hub.serve(peer, welcome, partial(self._ready, number)))
        try:
            status = await process.wait()
            await serving
        finally:
            self._processes.discard(process)
        return status

    def _ready(self, number: int) -> None:
        self._is_ready = True
        self._log.info("worker ready", worker=number)


def _command(descriptor: int) -> list[str]:
    """Return the command of a worker: this process's interpreter and script, with the option ``--worker``."""
    script = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    return [sys.executable, *script, "serve", "--worker", str(descriptor)]
