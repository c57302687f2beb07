"""The messages between the supervisor and a worker, over a socket pair that only the two processes have."""

from __future__ import annotations

import asyncio
import signal
import socket

import msgspec

from app.platform import Platform
from app.workers.samples import Snapshot

END_DRAIN = signal.SIGQUIT
"""The signal with which the supervisor ends a worker's drain.

It differs from SIGTERM, which a worker can receive twice: systemd sends it to each process of a service, and the
supervisor forwards it.
"""

_LENGTH_BYTES = 4


class Welcome(msgspec.Struct, tag=True, frozen=True):
    """The supervisor's first message: what the worker serves.

    Attributes:
        number: the worker's number, from 1.
        listener: the file descriptor of the listening socket.
        operations: the file descriptor of the socket for ``OPERATIONS_PORT``.
        platform: the supervisor's embedded services.
    """

    number: int
    listener: int
    operations: int | None
    platform: Platform


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The worker accepts requests."""


class Collect(msgspec.Struct, tag=True, frozen=True):
    """Asks a worker for its metrics."""

    number: int


class Collected(msgspec.Struct, tag=True, frozen=True):
    """A worker's metrics, as the answer to ``Collect``, or 0 before the worker ends."""

    number: int
    metrics: Snapshot


class Ask(msgspec.Struct, tag=True, frozen=True):
    """Asks the supervisor for the metrics of all workers."""

    number: int


class Answer(msgspec.Struct, tag=True, frozen=True):
    """The metrics of all workers, as the answer to ``Ask``."""

    number: int
    metrics: Snapshot


Message = Welcome | Ready | Collect | Collected | Ask | Answer
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def framed(message: Message) -> bytes:
    """Encode a message, preceded by its length."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES) + body


async def received(reader: asyncio.StreamReader) -> Message | None:
    """Wait for a message. Return ``None`` if the other process has ended."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        return _DECODER.decode(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def received_now(connection: socket.socket) -> Message | None:
    """Block until a message has arrived. Return ``None`` if the other process has ended."""
    length = connection.recv(_LENGTH_BYTES, socket.MSG_WAITALL)
    if len(length) < _LENGTH_BYTES:
        return None
    return _DECODER.decode(connection.recv(int.from_bytes(length), socket.MSG_WAITALL))
