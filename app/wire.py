"""WebSocket connections for uvicorn, with limits on frames. Frames are not compressed (decision 0034)."""

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
"""The name of the ASGI extension that contains a WebSocket's ``Frames``.

After sign-in, the application replaces the limits of the ``Frames``.
"""

SIGN_IN_BYTES = 64 * 1024
"""Maximum number of payload bytes that a client may send before sign-in. A token has at most 8 KiB."""

SIGN_IN_FRAMES = 100
"""Maximum number of frames that a client may send before sign-in. Control frames count, too."""

MAX_FRAGMENTS = 1_000
"""Maximum number of frames of one message."""

UNIT_BYTES = 16 * 1024
"""A large frame counts as several messages: one more for each ``UNIT_BYTES`` of payload."""

CLOSE_SECONDS = 1.0
"""How long a client may take to answer a close frame, in seconds."""

_LINGER_BYTES = 16 * 1024 * 1024
"""How many bytes are read and discarded after the close frame. Closing with unread bytes would reset the connection,
and the client might lose the close frame.
"""

_SMALL_BYTES = 256
"""Data with fewer bytes is parsed at once, because it has few frames."""

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY})


class Breach(IntEnum):
    """The WebSocket close codes for clients that exceed a bound."""

    TOO_BIG = 1009
    INVALID = 4400
    TOO_MANY = 4429


class _BoundExceeded(Exception):
    pass


class Frames(ServerProtocol):
    """Parses one WebSocket's frames, and limits the frames' number and size."""

    __slots__ = ("_bytes", "_fragments", "_frames", "_max_size", "_memory", "_meter")

    def __init__(self, max_size: int, logger: logging.Logger) -> None:
        super().__init__(max_size=min(max_size, SIGN_IN_BYTES), logger=logger)
        self._max_size = max_size
        self._meter: Meter | None = None
        self._memory: Holding | None = None
        self._frames = self._bytes = self._fragments = 0

    def admit(self, meter: Meter, memory: Holding) -> None:
        """Replace the limits before sign-in with the signed-in user's limits.

        Args:
            meter: the rate limit of the user's messages.
            memory: counts the bytes of incomplete and unprocessed messages against the user's limit.
        """
        self._meter, self._memory = meter, memory
        self.max_message_size = self._max_size

    def count_memory(self, complete: int) -> None:
        """Count the memory of received messages. Close the WebSocket if a limit is exceeded.

        Args:
            complete: the bytes of complete messages that are not processed yet.
        """
        if self._memory is None:
            return
        size = len(self.reader.buffer) + (self.current_size or 0) + complete
        try:
            self._memory.set(size if size > UNIT_BYTES else 0)
        except (RateLimited, Overloaded):
            self._close(
                Breach.TOO_MANY, "The messages and requests in progress have too many bytes. Send fewer at a time."
            )

    def release(self) -> None:
        """Stop counting the WebSocket's memory, because the connection has ended."""
        if self._memory is not None:
            self._memory.set(0)
            self._memory = None

    def reject(self, status: StatusLike, text: str) -> Response:
        """Refuse the WebSocket handshake. The response gets ``X-Content-Type-Options: nosniff``."""
        response = super().reject(status, text)
        response.headers[NO_SNIFF[0]] = NO_SNIFF[1]
        return response

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame. Close the WebSocket if the frame exceeds a bound."""
        size = len(frame.data)
        if self._meter is None:
            self._frames += 1
            self._bytes += size
            if self._frames > SIGN_IN_FRAMES:
                self._close(
                    Breach.INVALID, f"The client sent more than {SIGN_IN_FRAMES} frames before connection_init."
                )
                return
            if self._bytes > SIGN_IN_BYTES:
                self._close(Breach.TOO_BIG, f"The client sent more than {SIGN_IN_BYTES} bytes before connection_init.")
                return
        elif not self._meter.take(1 + size // UNIT_BYTES):
            self._close(Breach.TOO_MANY, "The client sent too many messages. Send fewer messages per second.")
            return
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
        elif frame.opcode in _DATA:
            self._fragments = 1
        if self._fragments > MAX_FRAGMENTS:
            self._close(
                Breach.TOO_BIG, f"A message has more than {MAX_FRAGMENTS} frames. Send the message in fewer frames."
            )
            return
        super().recv_frame(frame)

    def _close(self, code: Breach, reason: str) -> None:
        self.fail(code, reason)
        self.parser_exc = _BoundExceeded(reason)


class BoundedSocket(WebSocketsSansIOProtocol):
    """A WebSocket connection that limits the client's frames.

    ``Frames`` counts the frames.

    Attributes:
        pacer: paces the parsing for all sockets, so that parsing does not block the event loop.
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
    )  # includes uvicorn's attributes: with more than 30 outside slots, CPython makes a dict for each socket

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
        """Release the connection's resources. Tell the application that the client has disconnected."""
        self._delayed = b""
        self.frames_in.release()
        super().connection_lost(exc)

    async def receive(self) -> Any:
        """Return the client's next message. Calling this method marks earlier messages as processed."""
        if self._complete and self.queue.empty():
            self._complete = 0
            self.frames_in.count_memory(0)
        return await super().receive()

    def data_received(self, data: bytes) -> None:
        """Parse the received data at once, or later if the event loop is busy."""
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
        if data:  # otherwise, the connection is lost
            try:
                self._read(data)
            except BaseException:  # as the loop does if data_received fails: the connection must not stay paused
                self.transport.abort()
                raise
            if not (self.read_paused or self.transport.is_closing()):
                self.transport.resume_reading()

    def _read(self, data: bytes) -> None:
        if self._lingering is None:
            super().data_received(data)
            self.frames_in.count_memory(self._complete)
            if self.conn.parser_exc is not None and self._lingering is None:
                self.handle_parser_exception()
            return
        self._lingering -= len(data)
        if self._lingering < 0:
            self.transport.abort()

    def handle_connect(self, event: Request) -> None:
        """Start the application, and pass the WebSocket's ``Frames`` as an ASGI extension."""
        super().handle_connect(event)
        event.headers.clear()  # frees memory: the parser keeps the request until the socket closes
        if self.response.status_code == 101:
            cast("dict[str, Any]", self.scope["extensions"])[EXTENSION] = self.frames_in

    def handle_text(self, event: Frame) -> None:
        """Process a text frame, and free the frame's data.

        The parser would keep the data until the next frame arrives.
        """
        super().handle_text(event)
        event.data = b""

    def handle_bytes(self, event: Frame) -> None:
        """Process a binary frame, and free the frame's data."""
        super().handle_bytes(event)
        event.data = b""

    def send_receive_event_to_app(self) -> None:
        """Pass a message to the application. If a text message is not UTF-8, close the socket (RFC 6455, 8.1)."""
        size = sum(map(len, self.frames))
        if self.curr_msg_data_type == "bytes" or self.close_sent or _is_utf8(b"".join(self.frames)):
            self._complete += size
            super().send_receive_event_to_app()
            return
        self.frames = []
        if self.conn.state is State.OPEN:  # the client may have sent its close frame already
            self.conn.send_close(CloseCode.INVALID_DATA, "A text message is not valid UTF-8.")
        self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answer a ping, unless the write buffer is full or the socket is closing."""
        if self.writable.is_set() and self._lingering is None:
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_close(self, event: Frame) -> None:
        """Answer a close frame, unless the gateway has already begun to close the WebSocket."""
        if self._lingering is None:
            super().handle_close(event)

    def handle_parser_exception(self) -> None:
        """Close the socket after an invalid frame.

        Discard all data that the client sends before the connection ends.
        """
        closed = self.conn.close_sent
        code, reason = (1006, "") if closed is None else (closed.code, closed.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.close_sent, self._lingering = True, _LINGER_BYTES
        self.stop_keepalive()
        if closed is None:  # the handshake has not ended
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
        """Send a ping. If the write buffer is full, postpone the ping."""
        if self.writable.is_set():
            super().send_keepalive_ping()
        else:
            self.schedule_ping()

    def keepalive_timeout(self) -> None:
        """Abort the connection of a client that does not answer a ping.

        uvicorn would send a close frame (1011), after which graphql-ws does not reconnect, even on a device that slept.
        """
        if self.writable.is_set():
            self.transport.abort()
        else:  # the write timeout applies, because the ping may wait behind unread messages
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0.0, self.keepalive_timeout)

    async def send(self, message: Any) -> None:
        """Send a message. Raise ClientDisconnected if the socket is closing."""
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.accept":
            self.response.headers.clear()  # the headers are already sent
        elif message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # otherwise, uvicorn logs an error for each refused handshake


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
