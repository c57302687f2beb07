"""A TCP proxy in front of Redis that counts what a gateway sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.support.tcp import listening


class CountedRedis:
    """A Redis behind a proxy. ``packets`` are the pieces that the gateway has sent, each of them a round trip."""

    def __init__(self, url: str) -> None:
        self._there = urlsplit(url)
        self.packets: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def packets_with(self, text: str) -> int:
        """Return how many packets contain a text."""
        return sum(text.encode() in packet for packet in self.packets)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection's bytes both ways until one side closes."""
        there, back = await asyncio.open_connection(self._there.hostname, self._there.port)
        ways = [
            asyncio.create_task(self._forward(reader, back, self.packets)),
            asyncio.create_task(self._forward(there, writer, None)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for side in (back, writer):
            side.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, packets: list[bytes] | None
    ) -> None:
        try:
            while piece := await reader.read(65536):
                if packets is not None:
                    packets.append(piece)
                writer.write(piece)
        except ConnectionError:
            pass

    async def aclose(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def counted_redis(url: str) -> AsyncIterator[CountedRedis]:
    """Run the proxy until the context ends."""
    counted = CountedRedis(url)
    async with listening(counted.serve) as port:
        counted.url = urlsplit(url)._replace(netloc=f"127.0.0.1:{port}").geturl()
        yield counted
        await counted.aclose()
