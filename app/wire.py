"""WebSocket connections on uvicorn's protocol: each frame is counted before it is processed.

Messages are not compressed (decision 0034).
"""

from __future__ import annotations

import asyncio
import logging
from enum import IntEnum
from functools import partial
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from app.asgi import NO_SNIFF
from app.flags import Flag, Inbox
from app.meters import Meter
from app.pacing import StepPacer
from app.shares import Holding
from clients.errors import Overloaded, RateLimited

EXTENSION = "agentgraph.frames"
"""The ASGI extension by which the application lifts the bounds of a socket that has signed in: a ``Frames``."""

SIGN_IN_BYTES = 64 * 1024
"""The payload of all frames before sign-in. A token has at most 8 KiB."""

SIGN_IN_FRAMES = 100
"""The frames before sign-in, control frames included."""

MAX_FRAGMENTS = 1_000
"""The frames of one message."""

UNIT_BYTES = 16 * 1024
"""A frame counts once, and once more for each of these."""

CLOSE_SECONDS = 1.0
"""How long a client has to answer a close frame."""

_LINGER_BYTES = 16 * 1024 * 1024
"""How many bytes are read and discarded after the close frame. Closing at once, with bytes unread, would reset the
connection, and the client might never see the close frame.
"""


_SMALL_BYTES = 256
"""Shorter data is read at once and not counted: it has few frames."""

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY})


class Breach(IntEnum):
    """The close codes of a client that sends too much."""

    TOO_BIG = 1009
    INVALID = 4400
    TOO_MANY = 4429


class _TooMuch(Exception):
    pass


class Frames(ServerProtocol):
    """The frames of one socket, each counted before it is processed."""

    __slots__ = ("_bytes", "_fragments", "_frames", "_kept", "_max_size", "_meter")

    def __init__(self, max_size: int, logger: logging.Logger) -> None:
        super().__init__(max_size=min(max_size, SIGN_IN_BYTES), logger=logger)
        self._max_size = max_size
        self._meter: Meter | None = None
        self._kept: Holding | None = None
        self._frames = self._bytes = self._fragments = 0

    def admit(self, meter: Meter, kept: Holding) -> None:
        """Lift the bounds on what comes before sign-in: from now on frames count against the user's meter.

        Args:
            meter: of the user's messages.
            kept: the user's share of the memory of requests, for messages that are not complete or not processed.
        """
        self._meter, self._kept = meter, kept
        self.max_message_size = self._max_size

    def keep(self, complete: int) -> None:
        """Count what is in memory of messages, or close the socket.

        Args:
            complete: the bytes of messages that have come whole and are not processed yet.
        """
        if self._kept is None:
            return
        size = len(self.reader.buffer) + (self.current_size or 0) + complete
        try:
            self._kept.set(size if size > UNIT_BYTES else 0)
        except (RateLimited, Overloaded):
            self._close(Breach.TOO_MANY, "Too many bytes of messages and requests at a time")

    def release(self) -> None:
        """The connection is over: return what ``keep`` counted."""
        if self._kept is not None:
            self._kept.set(0)
            self._kept = None

    def reject(self, status: StatusLike, text: str) -> Response:
        """A refusal of the handshake, with the header that every answer has."""
        response = super().reject(status, text)
        response.headers[NO_SNIFF[0]] = NO_SNIFF[1]
        return response

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame, or close the socket for it."""
        size = len(frame.data)
        if self._meter is None:
            self._frames += 1
            self._bytes += size
            if self._frames > SIGN_IN_FRAMES:
                self._close(Breach.INVALID, f"More than {SIGN_IN_FRAMES} frames before connection_init")
                return
            if self._bytes > SIGN_IN_BYTES:
                self._close(Breach.TOO_BIG, f"More than {SIGN_IN_BYTES} bytes before connection_init")
                return
        elif not self._meter.take(1 + size // UNIT_BYTES):
            self._close(Breach.TOO_MANY, "Too many messages: send fewer in a second")
            return
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
        elif frame.opcode in _DATA:
            self._fragments = 1
        if self._fragments > MAX_FRAGMENTS:
            self._close(Breach.TOO_BIG, f"A message of more than {MAX_FRAGMENTS} fragments")
            return
        super().recv_frame(frame)

    def _close(self, code: Breach, reason: str) -> None:
        self.fail(code, reason)
        self.parser_exc = _TooMuch(reason)


class BoundedSocket(WebSocketsSansIOProtocol):
    """A WebSocket connection, with ``Frames``.

    Attributes:
        pacer: in which sockets parse what they receive, so that many that receive much at once do not hold the loop.
    """

    pacer: StepPacer

    __slots__ = (
        "_complete",
        "_delayed",
        "_lingering",
        "close_timer",
        "frames_in",
        "initial_response",
        "last_ping_rtt",
        "pending_ping_payload",
        "ping_sent_at",
        "ping_timer",
        "pong_timer",
        "request",
        "response",
        "scope",
    )  # uvicorn's own attributes among them: of more than 30, CPython makes a dict for each socket

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frames_in = Frames(self.config.ws_max_size, self.logger)
        self.conn = self.frames_in
        self.queue = cast("asyncio.Queue[Any]", Inbox[Any]())
        self.writable = cast("asyncio.Event", Flag(is_set=True))
        self.close_timeout = CLOSE_SECONDS
        self._lingering: int | None = None
        self._complete = 0
        self._delayed = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """End. The application gets a disconnect."""
        self._delayed = b""
        self.frames_in.release()
        super().connection_lost(exc)

    async def receive(self) -> Any:
        """Hand on the next message: those before have been processed."""
        if self._complete and self.queue.empty():
            self._complete = 0
            self.frames_in.keep(0)
        return await super().receive()

    def data_received(self, data: bytes) -> None:
        """Read frames, at once or when the pacer has time."""
        if self._delayed or (self.pacer.is_full and self._lingering is None):
            if not self._delayed:
                self.pacer.later(self._read_delayed)
            self._delayed += data
            self.transport.pause_reading()
        elif len(data) < _SMALL_BYTES:
            self._read(data)
        else:
            self.pacer.count(partial(self._read, data))

    def _read_delayed(self) -> None:
        data, self._delayed = self._delayed, b""
        if data:  # the connection is not lost
            try:
                self._read(data)
            except BaseException:  # as the loop does where data_received fails: the connection must not stay paused
                self.transport.abort()
                raise
            if not (self.read_paused or self.transport.is_closing()):
                self.transport.resume_reading()

    def _read(self, data: bytes) -> None:
        """Read frames; data after a breach is discarded."""
        if self._lingering is None:
            super().data_received(data)
            self.frames_in.keep(self._complete)
            if self.conn.parser_exc is not None and self._lingering is None:
                self.handle_parser_exception()
            return
        self._lingering -= len(data)
        if self._lingering < 0:
            self.transport.abort()

    def handle_connect(self, event: Request) -> None:
        """Begin the application, with the extension."""
        super().handle_connect(event)
        event.headers.clear()  # the parser keeps the request for as long as the socket lasts
        if self.response.status_code == 101:
            cast("dict[str, Any]", self.scope["extensions"])[EXTENSION] = self.frames_in

    def handle_text(self, event: Frame) -> None:
        """Take a frame of text. The parser keeps it until the next frame comes: for hours, of a socket that reads."""
        super().handle_text(event)
        event.data = b""

    def handle_bytes(self, event: Frame) -> None:
        """Take a frame of bytes."""
        super().handle_bytes(event)
        event.data = b""

    def send_receive_event_to_app(self) -> None:
        """Hand on a message. Text that is not UTF-8 closes the socket with 1007 (RFC 6455, 8.1), and is not logged."""
        size = sum(map(len, self.frames))
        if self.curr_msg_data_type == "bytes" or self.close_sent or _is_utf8(b"".join(self.frames)):
            self._complete += size
            super().send_receive_event_to_app()
            return
        self.frames = []
        if self.conn.state is State.OPEN:  # the client may have sent its close frame right behind
            self.conn.send_close(CloseCode.INVALID_DATA, "A text message that is not UTF-8")
        self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Send the pong, except while unread messages fill the buffer, and after a breach."""
        if self.writable.is_set() and self._lingering is None:
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: Frame) -> None:
        """Answer a close frame, except after a breach: the connection is closing already."""
        if self._lingering is None:
            super().handle_close(event)

    def handle_parser_exception(self) -> None:
        """Close, and read on until the client has received the close frame."""
        closed = self.conn.close_sent
        code, reason = (1006, "") if closed is None else (closed.code, closed.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_sent, self._lingering = True, _LINGER_BYTES
        self.stop_keepalive()
        if closed is None:  # the handshake is not over
            self.transport.abort()
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def send_keepalive_ping(self) -> None:
        """Send a ping, except while unread messages fill the buffer: then the write deadline applies."""
        if self.writable.is_set():
            super().send_keepalive_ping()
        else:
            self.schedule_ping()

    def keepalive_timeout(self) -> None:
        """Cut off a client that does not answer.

        The close frame for this (1011) keeps graphql-ws from retrying, and a device that slept gets it when it wakes.
        """
        if self.writable.is_set():
            self.transport.abort()
        else:  # the pong may wait behind messages that are not read yet: the write deadline runs
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0.0, self.keepalive_timeout)

    async def send(self, message: Any) -> None:
        """Send one message. Raises ClientDisconnected when the socket closes."""
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.response.headers.clear()  # it is sent


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
