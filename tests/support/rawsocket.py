"""A WebSocket client of single frames: it can send invalid frames and leave answers unread."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any

import orjson

_TCP_CLOSE = 7
"""The state of a closed connection (tcp(7), ``tcp_info``)."""


class Op(IntEnum):
    """The opcode of a frame (RFC 6455, 5.2)."""

    CONT = 0
    TEXT = 1
    CLOSE = 8
    PING = 9
    PONG = 10


def frame(op: Op, data: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a client's frame, with a mask of zeros."""
    size = len(data)
    head = bytes([(0x80 if fin else 0) | op])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + b"\0\0\0\0" + data


def text(**message: Any) -> bytes:
    """Return a message of the protocol as one frame."""
    return frame(Op.TEXT, orjson.dumps(message))


def fragments(data: bytes, count: int) -> bytes:
    """Return a text message in that many frames; all except the first are empty."""
    middle = frame(Op.CONT, fin=False) * (count - 2)
    return frame(Op.TEXT, data, fin=False) + middle + frame(Op.CONT)


class RawSocket:
    """A connection after the handshake. ``head`` is the answer to it, ``status`` its status."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader, self.writer, self.head = reader, writer, head
        self.status = int(head.split(" ", 2)[1])

    async def send(self, data: bytes) -> None:
        """Send bytes, as far as the server reads them."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def hear(self) -> tuple[Op, bytes]:
        head, size = await self.reader.readexactly(2)
        if size == 126:
            [size] = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            [size] = struct.unpack("!Q", await self.reader.readexactly(8))
        return Op(head & 15), await self.reader.readexactly(size)

    async def message(self) -> dict[str, Any]:
        while (heard := await self.hear())[0] is not Op.TEXT:
            assert heard[0] is not Op.CLOSE, heard
        found: dict[str, Any] = orjson.loads(heard[1])
        return found

    async def closed(self) -> tuple[int, str]:
        """Read to the close frame and return code and reason, or 1006 without one."""
        try:
            while (heard := await self.hear())[0] is not Op.CLOSE:
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006, ""
        return struct.unpack("!H", heard[1][:2])[0], heard[1][2:].decode()

    async def cut_off(self) -> bool:
        """Return whether the server has reset the connection, without reading from it."""
        connection = self.writer.transport.get_extra_info("socket")
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)

    def pause_reading(self) -> None:
        """Leave what the server sends unread; asyncio would read ahead."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    async def sign_in(self, token: str) -> None:
        await self.send(text(type="connection_init", payload={"authorization": f"Bearer {token}"}))
        assert (await self.message())["type"] == "connection_ack"


@asynccontextmanager
async def raw_socket(
    address: tuple[str, int], *, receive_buffer: int | None = None, compresses: bool = False
) -> AsyncIterator[RawSocket]:
    """Open a socket. ``receive_buffer`` is the size of the kernel's buffer in bytes."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, address)
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        "GET /graphql HTTP/1.1",
        "Host: gateway",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: graphql-transport-ws",
        *(["Sec-WebSocket-Extensions: permessage-deflate"] if compresses else []),
    )
    try:
        writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        yield RawSocket(reader, writer, head)
    finally:
        writer.transport.abort()
