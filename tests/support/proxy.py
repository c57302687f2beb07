"""A TCP proxy on loopback that cuts connections in the middle of an answer, and counts those that clients close."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_EXTENSIONS = re.compile(rb"Sec-WebSocket-Extensions:", re.IGNORECASE)


@dataclass
class CuttingProxy:
    """Forwards bytes both ways.

    Attributes:
        cuts: texts, in order. A connection is cut after the first text, which is then removed.
        reset: whether a cut is a TCP reset; otherwise the connection is closed.
        connections: the number of connections so far.
        left: the number of connections that the client has closed before the server.
    """

    host: str
    port: int
    cuts: list[bytes]
    reset: bool
    url: str = ""
    connections: int = 0
    left: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection(self.host, self.port)
        ways = [asyncio.create_task(_forward(reader, back)), asyncio.create_task(self._answer(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            self.left += ways[0].done() and not ways[1].done()
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.close()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward an answer up to its cut. A text is found across pieces too."""
        tail = b""
        while piece := await reader.read(65536):
            whole = tail + piece
            at = whole.find(self.cuts[0]) if self.cuts else -1
            if at >= 0:
                end = at + len(self.cuts.pop(0)) - len(tail)
                writer.write(piece[: max(end, 0)])
                await writer.drain()
                if self.reset:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            longest = max((len(cut) for cut in self.cuts), default=1)
            tail = whole[-(longest - 1) :] if longest > 1 else b""
            writer.write(piece)
            await writer.drain()

    async def stop(self) -> None:
        """Cut the remaining connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward requests, without the offer to compress WebSockets, so that texts can be found."""
    while piece := await reader.read(65536):
        writer.write(_EXTENSIONS.sub(b"X-Left-Out:", piece))
        await writer.drain()


@asynccontextmanager
async def cutting_proxy(url: str, cuts: Sequence[str] = (), *, reset: bool = False) -> AsyncIterator[CuttingProxy]:
    """Run a proxy in front of ``url`` on a free port."""
    target = urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    proxy = CuttingProxy(target.hostname, target.port, [cut.encode() for cut in cuts], reset)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
