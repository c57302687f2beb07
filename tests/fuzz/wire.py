"""Blocking raw sockets, since the examples are bytes and run one after another."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field

import httptools

CLOSE, PING, PONG = 8, 9, 10


@dataclass
class Answer:
    """The answer on a connection; ``status`` is 0 without one."""

    status: int = 0
    body: bytes = b""
    ended: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended = self.status >= 200
        self.status = self.status if self.ended else 0


def ask(address: tuple[str, int], pieces: tuple[bytes, ...], seconds: float) -> Answer:
    """Send a request in pieces. Read its answer until nothing arrives for ``seconds``."""
    answer = Answer()
    parser = httptools.HttpResponseParser(answer)
    with socket.create_connection(address, timeout=seconds) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        with contextlib.suppress(OSError):
            while not answer.ended and (data := connection.recv(65536)):
                with contextlib.suppress(httptools.HttpParserUpgrade):
                    parser.feed_data(data)
                answer.status = answer.status or parser.get_status_code()
    return answer


def close_code(address: tuple[str, int], handshake: bytes, frames: list[bytes], seconds: float) -> int | None:
    """Open a WebSocket, send frames and a ping after them, and read to the pong or the close frame.

    Returns:
        The code that the server closed with; 0 for a pong; ``None`` for a connection that ended without either.
    """
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(handshake)
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        data = data.partition(b"\r\n\r\n")[2]
        with contextlib.suppress(OSError):
            for frame in frames:
                connection.sendall(frame)
        while True:
            while (found := _frame(data)) is not None:
                opcode, payload, data = found
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2]) if payload else 1005
                if opcode == PONG and payload == b"fuzz":
                    return 0
            try:
                more = connection.recv(65536)
            except OSError:
                return None
            if not more:
                return None
            data += more


def _frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return the first frame of a server's bytes, and the rest; ``None`` while it is incomplete."""
    if len(data) < 2:
        return None
    size, start = data[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(data[2:4]), 4
    elif size == 127:
        size, start = int.from_bytes(data[2:10]), 10
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]
