"""A server on loopback whose connections a test serves byte by byte."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass
class Talk:
    """One connection of a client. ``number`` counts the server's connections, and ``requests`` this one's requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    requests: int = 0

    async def request(self) -> tuple[bytes, bytes]:
        """Return the head and the body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        length = _LENGTH.search(head)
        return head, await self.reader.readexactly(int(length[1]) if length else 0)

    async def send(self, *pieces: bytes) -> None:
        """Send bytes, so that the client receives each piece by itself."""
        for piece in pieces:
            self.writer.write(piece)
            for _ in range(3):
                await asyncio.sleep(0)

    async def reset(self) -> None:
        """Reset the connection, after the client has read what was sent."""
        await asyncio.sleep(0.01)
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class RawServer:
    """A running server. ``talks`` are all connections that clients have opened."""

    url: str
    port: int
    talks: list[Talk] = field(default_factory=list)


Serve = Callable[[Talk], Awaitable[None]]


@asynccontextmanager
async def raw_server(
    serve: Serve, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serve connections with ``serve`` until it returns. A client may end a connection at any time."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        talk = Talk(reader, writer, len(running.talks) + 1)
        running.talks.append(talk)
        try:
            await serve(talk)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass  # the client, or the end of the test, ends the connection
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, host, 0, ssl=tls, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    name = "localhost" if tls else f"[{host}]" if ":" in host else host
    running = RawServer(f"{'https' if tls else 'http'}://{name}:{port}", port)
    try:
        yield running
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        for talk in running.talks:
            talk.writer.transport.abort()
        await asyncio.sleep(0)
