"""Collects and adds the metrics of all workers. Runs in the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from prometheus_client import CollectorRegistry, Counter

from app.workers.messages import Answer, Ask, Collect, Collected, Ready, Welcome, framed, received
from app.workers.samples import Snapshot, cumulative, merged, snapshot

COLLECT_SECONDS = 1.0
"""The timeout for the workers' metrics, in seconds. After the timeout, the supervisor uses a worker's last metrics."""

INTERVAL_SECONDS = 5.0
"""The interval at which the supervisor collects metrics, in seconds.

If a worker is killed, the counts since the last collection are lost.
"""


class Peer:
    """The supervisor's connection to a worker.

    Attributes:
        metrics: the metrics that the worker has reported last.
        waiting: for each number of a ``Collect`` message, the future that ends when the metrics have arrived.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.metrics: Snapshot = []
        self.waiting: dict[int, asyncio.Future[None]] = {}


class Hub:
    """Collects the workers' metrics, and answers a worker's ``Ask`` message with the sums."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        text = "The number of times that the supervisor has restarted a worker."
        self.restarts = Counter("agentgraph_worker_restarts", text, registry=self._registry)
        self._peers: set[Peer] = set()
        self._ended: Snapshot = []
        self._numbers = count(1)
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self, peer: Peer, welcome: Welcome, on_ready: Callable[[], None]) -> None:
        """Serve a worker's connection until it ends. Then keep the worker's counters.

        Args:
            peer: the connection.
            welcome: the first message to the worker.
            on_ready: called when the worker accepts requests.
        """
        self._peers.add(peer)
        peer.writer.write(framed(welcome))
        try:
            while (message := await received(peer.reader)) is not None:
                match message:
                    case Ready():
                        on_ready()
                    case Collected(number, metrics):
                        peer.metrics = metrics
                        if (future := peer.waiting.pop(number, None)) is not None and not future.done():
                            future.set_result(None)
                    case Ask(number):
                        task = asyncio.create_task(self._answer(peer, number))
                        self._answering.add(task)
                        task.add_done_callback(self._answering.discard)
                    case _:
                        pass
        finally:
            self._peers.discard(peer)
            self._ended = merged([self._ended, cumulative(peer.metrics)])
            for future in peer.waiting.values():
                future.cancel()
            peer.writer.close()

    async def collect_at_intervals(self) -> None:
        """Collect the workers' metrics every ``INTERVAL_SECONDS``, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self._collect()

    async def _answer(self, peer: Peer, number: int) -> None:
        await self._collect()
        families = merged([self._ended, *(one.metrics for one in self._peers), snapshot(self._registry)])
        if not peer.writer.is_closing():
            peer.writer.write(framed(Answer(number, families)))

    async def _collect(self) -> None:
        """Request the metrics of all workers, and wait at most ``COLLECT_SECONDS`` for the answers."""
        number, waiting = next(self._numbers), []
        for peer in self._peers:
            peer.waiting[number] = future = asyncio.get_running_loop().create_future()
            waiting.append(future)
            peer.writer.write(framed(Collect(number)))
        if waiting:
            await asyncio.wait(waiting, timeout=COLLECT_SECONDS)
        for peer in self._peers:
            peer.waiting.pop(number, None)
