"""The messages between the supervisor and a worker. Only these two processes can use the socket pair."""

from __future__ import annotations

import asyncio
import signal
import socket

import msgspec

from app.platform import Platform
from app.workers.samples import Snapshot

END_DRAIN = signal.SIGQUIT
"""The signal by which the supervisor ends a worker's drain.

SIGTERM cannot be used, because a worker can receive SIGTERM twice: systemd sends SIGTERM to each process of a service,
and the supervisor forwards its own SIGTERM.
"""

_LENGTH_BYTES = 4


class Welcome(msgspec.Struct, tag=True, frozen=True):
    """The supervisor's first message, with the worker's sockets and services.

    Attributes:
        number: the worker's number, from 1.
        listener: the file descriptor of the listening socket.
        operations: the file descriptor of the socket for ``OPERATIONS_PORT``; ``None`` if there is no such port.
        platform: the addresses and keys of the supervisor's embedded services.
    """

    number: int
    listener: int
    operations: int | None
    platform: Platform


class Ready(msgspec.Struct, tag=True, frozen=True):
    """Reports that the worker accepts requests."""


class Collect(msgspec.Struct, tag=True, frozen=True):
    """Requests a worker's metrics. ``number`` identifies the request."""

    number: int


class Collected(msgspec.Struct, tag=True, frozen=True):
    """A worker's metrics. ``number`` is the number of the ``Collect`` message, or 0 if the worker is about to end."""

    number: int
    metrics: Snapshot


class Ask(msgspec.Struct, tag=True, frozen=True):
    """Requests the metrics of all workers from the supervisor. ``number`` identifies the request."""

    number: int


class Answer(msgspec.Struct, tag=True, frozen=True):
    """The metrics of all workers. ``number`` is the number of the ``Ask`` message."""

    number: int
    metrics: Snapshot


Message = Welcome | Ready | Collect | Collected | Ask | Answer
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def framed(message: Message) -> bytes:
    """Encode a message as MessagePack, preceded by its length in four bytes."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES) + body


async def received(reader: asyncio.StreamReader) -> Message | None:
    """Wait for a message, and return the message; ``None`` if the other process has ended."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        return _DECODER.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def received_now(connection: socket.socket) -> Message | None:
    """Block until a message has arrived, and return the message; ``None`` if the other process has ended."""
    length = connection.recv(_LENGTH_BYTES, socket.MSG_WAITALL)
    if len(length) < _LENGTH_BYTES:
        return None
    return _DECODER.decode(connection.recv(int.from_bytes(length), socket.MSG_WAITALL))
