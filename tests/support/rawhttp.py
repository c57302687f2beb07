"""An HTTP/1.1 client of raw bytes: it can send invalid requests and leave answers unread."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


@dataclass
class Raw:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send bytes, as far as the server reads them."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def trickle(self, data: bytes, seconds: float = 0.05) -> None:
        """Send one byte at a time, repeatedly, until the server closes the connection."""
        while not self.writer.is_closing() and not self.reader.at_eof():
            for byte in data:
                await self.send(bytes([byte]))
                await asyncio.sleep(seconds)
                if self.writer.is_closing() or self.reader.at_eof():
                    return

    async def rest(self) -> bytes:
        """Read until the server closes or resets the connection."""
        read = bytearray()
        with suppress(ConnectionError):
            while data := await self.reader.read(65536):
                read += data
        return bytes(read)

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Read the next answer: status, headers and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.rstrip().split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        body = await self.reader.readexactly(int(headers.get(b"content-length", 0)))
        return status_of(head), headers, body

    def pause_reading(self) -> None:
        """Leave what the server sends unread; asyncio would read ahead."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    async def gone(self) -> None:
        """Wait for the kernel's event that the server has closed or reset the connection, without reading."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO) == _ESTABLISHED:
            await asyncio.sleep(0.02)  # the loop's own poll does not tell where it is not reading


_ESTABLISHED = 1


def status_of(data: bytes) -> int:
    """Return the status of an answer, or 0 without one."""
    found = _STATUS.match(data)
    return int(found[1]) if found else 0


def statuses_of(data: bytes) -> list[int]:
    """Return the statuses of consecutive answers."""
    return [int(found) for found in _STATUS.findall(data)]


@asynccontextmanager
async def raw(address: tuple[str, int], *, receive_buffer: int | None = None) -> AsyncIterator[Raw]:
    """Connect.

    Args:
        address: host and port.
        receive_buffer: approximate size of the kernel's receive buffer in bytes; by default the kernel's choice.
    """
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    limit = 2**16 if receive_buffer is None else max(1, receive_buffer // 4)
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
