"""WebSocket connections for uvicorn, with limits on frames. Frames are not compressed (decision 0034)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from app.connections.frames import EXTENSION, Frames
from app.flags import Flag, Inbox
from app.pacing import StepPacer

PUT = "agentgraph.put"
"""The name of the ASGI extension that contains a WebSocket's ``BoundedSocket.put``."""

_KEPT = ("type", "path", "client", "state", "headers", "extensions")
"""The parts of the ASGI scope that sessions, metrics, logs and limits need after the handshake."""

CLOSE_SECONDS = 1.0
"""How long a client may take to answer a close frame, in seconds."""

_LINGER_BYTES = 16 * 1024 * 1024
"""Maximum number of bytes that the gateway reads and discards after the close frame.

If the gateway closed a connection with unread bytes, a reset would follow, and the client could lose the close frame.
"""

_SMALL_BYTES = 256
"""Data with fewer bytes is parsed at once, because it has few frames."""

_FINAL_TEXT = 0x80 | Opcode.TEXT
_TWO_BYTES, _EIGHT_BYTES = 126, 127
"""The values of a frame's first length byte after which the length follows in two or eight bytes."""


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
        """Release the connection's resources. Notify the application of the disconnect."""
        self._delayed = b""
        self.frames_in.release()
        super().connection_lost(exc)

    async def receive(self) -> Any:
        """Return the client's next message. Calling this method marks earlier messages as processed."""
        if self._complete and self.queue.empty():
            self._complete = 0
            self.frames_in.count_memory(0)
        while self.queue.empty():
            await cast("Inbox[Any]", self.queue).arrival()  # ``get`` would wait in a coroutine of 240 bytes
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.transport.resume_reading()
        return message

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
        """Start the application, and pass the WebSocket's ``Frames`` and ``put`` as ASGI extensions."""
        super().handle_connect(event)
        event.headers.clear()  # frees memory: the parser keeps the request until the socket closes
        if self.response.status_code == 101:
            cast("dict[str, Any]", self.scope["extensions"]).update({EXTENSION: self.frames_in, PUT: self.put})

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

    async def put(self, text: bytes) -> None:
        """Send a text message in a fifth of the CPU time that ``send`` needs.

        Args:
            text: the message in UTF-8.

        Raises:
            ClientDisconnected: the socket is closing.
        """
        if not self.writable.is_set():
            await self.writable.wait()
        if self.close_sent or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        self.transport.write(text_frame(text))

    async def send(self, message: Any) -> None:
        """Send a message. Raise ClientDisconnected if the socket is closing."""
        await self.writable.wait()
        if self.close_sent:
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.accept":
            del self.response  # the response is already sent
            if self.handshake_complete:  # otherwise, the connection is closing, and uvicorn logs the URL
                self._free_scope()
        elif message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # otherwise, uvicorn logs an error for each refused handshake

    def _free_scope(self) -> None:
        scope = cast("dict[str, Any]", self.scope)
        kept = {name: scope[name] for name in _KEPT}
        scope.clear()
        scope.update(kept)


def text_frame(text: bytes) -> bytes:
    """Return the only frame of a server's text message (RFC 6455, 5.2)."""
    size = len(text)
    if size < _TWO_BYTES:
        return bytes((_FINAL_TEXT, size)) + text
    if size < 1 << 16:
        return b"%c%c%b%b" % (_FINAL_TEXT, _TWO_BYTES, size.to_bytes(2), text)
    return b"%c%c%b%b" % (_FINAL_TEXT, _EIGHT_BYTES, size.to_bytes(8), text)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
