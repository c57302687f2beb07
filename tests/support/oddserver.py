"""A small HTTP/1.1 server that sends scripted bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Scripted:
    """One answer.

    Attributes:
        status: the HTTP status.
        headers: sent besides the framing.
        pieces: the body as bytes, with floats for seconds to wait.
        framed: whether the body is chunked; otherwise it ends with the connection.
        raw: bytes sent instead of status, headers and body.
        reset: reset the connection after the answer, or instead of an empty one.
        close: close the connection after the answer.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    pieces: Iterable[bytes | float] = field(default_factory=list)
    framed: bool = True
    raw: bytes | None = None
    reset: bool = False
    close: bool = False


Answer = Callable[[str, str, bytes], Scripted]


@asynccontextmanager
async def odd_server(answer: Answer) -> AsyncIterator[str]:
    """Serve ``answer(method, path, body)`` on loopback; yields the URL."""
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while await _one(reader, writer, answer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def _one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Read one request and answer it. Return whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, path, _ = head.split(" ", 2)
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))}
    said = answer(method, path, await reader.readexactly(int(fields.get("content-length", 0))))
    if said.raw is not None:
        writer.write(said.raw)
    elif not said.reset or said.pieces:
        await _write(writer, said)
    await writer.drain()
    if said.reset:
        await asyncio.sleep(0.02)  # a reset discards what the peer has not read yet
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return not (said.reset or said.close or not said.framed)


async def _write(writer: asyncio.StreamWriter, said: Scripted) -> None:
    headers = said.headers | ({"transfer-encoding": "chunked"} if said.framed else {"connection": "close"})
    lines = [f"HTTP/1.1 {said.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    for piece in said.pieces:
        if isinstance(piece, float):
            await writer.drain()
            await asyncio.sleep(piece)
        elif piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if said.framed else piece)
    if said.framed:
        writer.write(b"0\r\n\r\n")
