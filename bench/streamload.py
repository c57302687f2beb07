"""A closed loop of POST requests with streamed or whole answers. The client only detects each answer's end."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from bench.load import Request
from bench.support import percentile

_END = b"0\r\n\r\n"

LAST_SECONDS = 120.0
"""The timeout for the last answers of a load, in seconds."""


class _Client(asyncio.Protocol):
    """Sends a request after each answer, over one connection, until the server closes the connection."""

    def __init__(self, request: bytes, loop: Loop) -> None:
        self._request, self._loop = request, loop
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._left: int | None = None
        self._is_chunked = self._closes = False
        self._tail = self._status = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature of a protocol
        self._loop.lost(self, in_answer=bool(self._head))

    def _send(self) -> None:
        assert self._transport is not None
        self._head, self._tail, self._left = b"", b"", None
        self._began = time.perf_counter()
        self._first = 0.0
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._left is None and not self._is_in_body:
            data = self._read_head(data)
            if not data and not self._is_complete(data):
                return
        if data and not self._first:
            self._first = time.perf_counter()
        if self._is_complete(data):
            self._answered()

    @property
    def _is_in_body(self) -> bool:
        return self._head.endswith(b"\r\n\r\n")

    def _read_head(self, data: bytes) -> bytes:
        """Read a part of an answer's head. Return the bytes after the head."""
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        self._head = head + end
        if not end:
            return b""
        lower = head.lower()
        self._status = head.split(b" ", 2)[1]
        self._closes = b"connection: close" in lower
        self._is_chunked = b"transfer-encoding: chunked" in lower
        if not self._is_chunked:
            self._left = int(lower.partition(b"content-length:")[2].split(b"\r\n")[0])
        return rest

    def _is_complete(self, data: bytes) -> bool:
        if not self._is_in_body:
            return False
        if self._left is not None:
            self._left -= len(data)
            return self._left <= 0
        self._tail = (self._tail + data)[-len(_END) :] if len(data) < len(_END) else data[-len(_END) :]
        return self._tail == _END

    def _answered(self) -> None:
        assert self._transport is not None
        self._loop.answered(self._status, time.perf_counter() - self._began, self._first - self._began)
        self._head = b""
        if self._closes or not self._loop.is_running:
            self._transport.close()
        else:
            self._send()


class Loop:
    """A closed loop of several connections."""

    def __init__(self, port: int, request: Request) -> None:
        self._port, self._request = port, request
        self._clients: set[_Client] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self.is_running = True
        self.refused = self.broken = 0
        self.seconds: list[float] = []
        self.first: list[float] = []
        self.ended = 0.0

    def answered(self, status: bytes, seconds: float, first: float) -> None:
        """Record a whole answer.

        Args:
            status: the answer's status.
            seconds: the time to the answer's last byte.
            first: the time to the first byte of the answer's body, in seconds.
        """
        self.ended = time.perf_counter()
        if status != b"200":
            self.refused += 1
            return
        self.seconds.append(seconds)
        self.first.append(first)

    def lost(self, client: _Client, *, in_answer: bool) -> None:
        """Replace a closed connection."""
        self._clients.discard(client)
        self.broken += in_answer
        if self.is_running:
            task = asyncio.ensure_future(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        elif not self._clients:
            self._idle.set()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: _Client(self._request.raw, self), "127.0.0.1", self._port)
        self._clients.add(client)

    async def run(self, clients: int, seconds: float) -> None:
        """Keep ``clients`` requests in progress for ``seconds``, then wait for the last answers."""
        await asyncio.gather(*(self._open() for _ in range(clients)))
        await asyncio.sleep(seconds)
        self.is_running = False
        await asyncio.gather(*self._opening, return_exceptions=True)
        if self._clients:
            await asyncio.wait_for(self._idle.wait(), LAST_SECONDS)


async def closed_loop(port: int, request: Request, clients: int, seconds: float) -> dict[str, float]:
    """Keep ``clients`` requests in progress for ``seconds``, and wait for the last answers.

    Returns:
        ``number``: the number of answers with status 200; ``per_second``: these answers per second; ``refused``: the
        number of other answers; ``p50`` and ``first``: the medians of the time to the last byte and to the first byte
        of the body, in seconds.

    Raises:
        RuntimeError: a connection was closed during an answer.
    """
    loop = Loop(port, request)
    began = time.perf_counter()
    await loop.run(clients, seconds)
    if loop.broken:
        raise RuntimeError(f"{loop.broken} answers of port {port} ended early")
    number = float(len(loop.seconds))
    return {
        "number": number,
        "per_second": number / (loop.ended - began),
        "refused": float(loop.refused),
        "p50": percentile(loop.seconds, 0.5),
        "first": percentile(loop.first, 0.5),
    }
