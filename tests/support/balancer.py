"""A TCP load balancer: each connection goes to the next backend that accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.support.serving import free_port

CHUNK = 65_536


class Balancer:
    """Distributes connections round-robin. A connection ends when its backend dies, as behind a real balancer.

    ``preferred`` is the port that gets every connection, as long as the port accepts connections.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = free_port()
        self.preferred: int | None = None
        self._ports = list(ports)
        self._next = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client to a backend until either side closes the connection."""
        backend = await self._connect()
        if backend is None:
            writer.transport.abort()
            return
        from_backend, to_backend = backend
        copies = [asyncio.create_task(_copy(reader, to_backend)), asyncio.create_task(_copy(from_backend, writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            for one in (writer, to_backend):
                one.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = [] if self.preferred is None else [self.preferred]
        for port in [*first, *self._in_turn()]:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    def _in_turn(self) -> Iterator[int]:
        for _ in self._ports:
            self._next += 1
            yield self._ports[(self._next - 1) % len(self._ports)]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def balancing(ports: Sequence[int]) -> AsyncIterator[Balancer]:
    """Run a load balancer until the context ends."""
    balancer = Balancer(ports)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await balancer.serve(reader, writer)
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", balancer.port, backlog=1024)
    try:
        yield balancer
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
