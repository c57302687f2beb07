"""HTTP connections on uvicorn's protocol, with a timeout and a bound for each state.

========================  ======================================  ==========================================
state                     timeout                                 bound
========================  ======================================  ==========================================
nothing received          the head's, from the connection on
a head                    the head's, from its first byte: 408    ``MAX_HEAD_BYTES``, ``MAX_HEADERS``: 431;
                                                                  ``MAX_HEADS_BYTES`` of all connections
a body that is read       that of ``read_body``                   that of ``read_body``
chunk lines and trailers  that of the body                        ``MAX_HEAD_BYTES``, with the head: 431
an unread body            ``LINGER_SECONDS`` after the answer     ``LINGER_BYTES``
an answer in progress     the application's                       ``HELD_BYTES`` of further requests
an unread answer          ``WRITE_TIMEOUT_SECONDS`` (``Unsent``)  ``MAX_UNSENT_BYTES`` of all connections
kept alive                uvicorn's, ``KEEP_ALIVE_SECONDS``       one head, as above
any                                                               ``MAX_CONNECTIONS``: see ``IdleConnections``
========================  ======================================  ==========================================
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.asgi import NO_SNIFF
from app.flow import HoldingFlow
from app.heads import MAX_HEAD_BYTES, HeadRefused, check_head, check_socket_head, head_too_large
from app.http10 import Http10Protocol
from app.idle_connections import IdleConnections
from app.outgoing import Outgoing, Unsent
from app.received import Received

LINGER_SECONDS = 2.0
"""How long data after an early answer is read and discarded, so that the client can read the answer."""

LINGER_BYTES = 16 * 2**20
"""The most bytes that are read and discarded."""

HELD_BYTES = 64 * 1024
"""The bytes of further requests that are read ahead of an answer; then reading pauses."""

UNSENT_BYTES = 128 * 1024
"""The bytes that the kernel buffers for sending, which ``Unsent`` counts as read."""

_MAX_PIECE = 64 * 1024
_CHUNK_LINE = 16
"""The allowance for the framing of an incomplete chunk, which its end settles."""

_REFUSAL_HEADERS = (
    f"content-type: text/plain; charset=utf-8\r\n{NO_SNIFF[0].lower()}: {NO_SNIFF[1]}\r\nconnection: close\r\n"
).encode()


class _Phase(Enum):
    """The part of a request that the next bytes from the client belong to."""

    HEAD = auto()
    BODY = auto()
    CHUNKS = auto()
    ANSWER = auto()
    """The request is complete and its answer is not: further bytes wait unparsed."""


_HEAD, _BODY, _CHUNKS, _ANSWER = _Phase  # local names: access takes a third of the time


class Connection(Http10Protocol):
    """A connection. A request is parsed after the previous answer has ended.

    Args:
        head_seconds: the timeout of a request head.
        unsent: checks the unread bytes of all connections.
        idle: all connections that wait for a request.
    """

    # of more than 30 attributes outside slots, CPython makes a dict for each connection
    __slots__ = (
        "_chunk", "_discarded", "_flow", "_framing", "_head_seconds", "_idle", "_keeps_alive", "_left", "_out",
        "_phase", "_piece", "_received", "_refusal", "_timer", "_unsent",
    )  # fmt: skip

    def __init__(self, *args: Any, head_seconds: float, unsent: Unsent, idle: IdleConnections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_seconds = head_seconds
        self._unsent = unsent
        self._idle = idle
        self._phase = _HEAD
        self._received = Received()
        self._framing = self._piece = self._left = self._chunk = 0
        self._keeps_alive = False
        self._refusal: HeadRefused | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._discarded: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin with the timeout of the head."""
        super().connection_made(transport)
        with suppress(OSError, AttributeError):  # not every system and kind of socket has the option
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.flow = self._flow = HoldingFlow(transport)
        self._out = Outgoing(transport)
        self._out.on_close = self._close
        self.transport = cast("asyncio.Transport", self._out)
        self._start_timer(self._head_seconds, self._on_head_timeout)
        self._unsent.watch()
        self._idle.add(self)
        self._idle.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection. The application gets a disconnect."""
        self._stop_timer()
        self._idle.remove(self)
        self._received.clear()
        self._out.on_close = self._out.inner.close  # no reference cycle, which would wait for the garbage collector
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close after the current answer."""
        self._keeps_alive = False
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of the current request, and hold the rest."""
        if self._discarded is not None:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._received.add(data)
        self._feed()

    def _feed(self) -> None:
        """Parse the bytes received, up to the end of the current request."""
        try:
            while self._received.count and self._phase is not _ANSWER:
                self._parse_piece()
        except (HeadRefused, httptools.HttpParserError) as error:
            if isinstance(error, httptools.HttpParserError):
                error = self._refusal or HeadRefused(400, "Invalid HTTP request received.")
            self._refuse(error)
            return
        self._flow.hold(self._received.count > HELD_BYTES)
        if self._phase is _HEAD and self._framing and not self.transport.is_closing():
            self._idle.hold_head(self, self._framing)
            if self._timer is None:
                self._start_timer(self._head_seconds, self._on_head_timeout)

    def _parse_piece(self) -> None:
        """Parse the next piece. Raises HeadRefused, HttpParserError."""
        phase, self._piece = self._phase, self._size_of_piece()
        try:
            self.parser.feed_data(self._received.take(self._piece))
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self._received.clear()
                self.handle_websocket_upgrade()
                return
            self._read_again()
        if phase is _BODY:
            self._left -= self._piece
            return
        self._framing += self._piece
        if phase is _CHUNKS:
            self._check_framing()

    def _check_framing(self) -> None:
        """Check the size of head, chunk lines and trailers together. Raises HeadRefused."""
        allowance = 0 if self._phase is _ANSWER else _CHUNK_LINE
        if self._framing > MAX_HEAD_BYTES + allowance:
            raise head_too_large()

    def _size_of_piece(self) -> int:
        """Return how many bytes to parse next, within the bounds and the end of the request."""
        if self._phase is _BODY:
            return min(self._received.count, self._left)
        room = _MAX_PIECE
        if self._phase is _HEAD:
            room = MAX_HEAD_BYTES - self._framing
            if not room:
                raise head_too_large()
        return min(self._received.to_end_of_head(), room)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers are ignored (RFC 9110, 6.5.1)."""
        if self._phase is _HEAD:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head, and begin the request."""
        self._stop_timer()
        self._idle.remove(self)
        upgrades = self.parser.should_upgrade()
        is_socket = upgrades and self._should_upgrade()
        try:
            self._check(is_socket=is_socket)
        except HeadRefused as refused:
            self._refusal = refused  # the parser replaces the exception by its own
            raise
        if is_socket:
            super().on_headers_complete()
        if upgrades:
            return
        fields = dict(self.headers)
        self._phase = _CHUNKS if b"transfer-encoding" in fields else _BODY
        self._left = int(fields.get(b"content-length", 0))  # the parser has checked it
        super().on_headers_complete()
        self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def _check(self, *, is_socket: bool) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise HeadRefused(400, "This server is not a proxy: CONNECT is not supported.")
        size, version = self._framing + self._piece, self.parser.get_http_version()
        check_head(self.headers, version=version, size=size)
        if is_socket:
            check_socket_head(self.headers, self.url)

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body to the application."""
        if self._phase is _CHUNKS:
            self._chunk += len(body)
            self._framing -= len(body)
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """Count the minimal framing of a chunk as body: its length in hexadecimal and two line ends."""
        self._framing -= max(1, (self._chunk.bit_length() + 3) // 4) + 4
        self._chunk = 0

    def on_message_complete(self) -> None:
        """Keep the connection alive after the answer, unless the answer began before the body ended."""
        if self.parser.should_upgrade():
            return
        self._phase = _ANSWER
        super().on_message_complete()
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, or parse it."""
        super().on_response_complete()
        if self._phase is _ANSWER and not self.transport.is_closing():
            self._phase, self._framing = _HEAD, 0
            self._idle.add(self)
            if self._received.count:
                self.loop.call_soon(self._feed_held)

    def _feed_held(self) -> None:
        if not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._feed()

    def _read_again(self) -> None:
        """Parse the head again without its upgrade: with it, the parser takes the body for the next request."""
        parts = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                options = (option for option in value.split(b",") if option.strip().lower() != b"upgrade")
                parts += [name, b": ", b",".join(options), b"\r\n"]
            elif name != b"upgrade":
                parts += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"".join([*parts, b"\r\n"]))

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._phase = _ANSWER
        self._out.on_close = self._out.inner.close
        self.scope["headers"] = [one for one in self.headers if one[0] != b"cookie"]  # its line may be too long
        super().handle_websocket_upgrade()
        del self.parser  # it refers to the connection, and has nothing more to parse

    def _refuse(self, refused: HeadRefused) -> None:
        """Answer without the application, and close. The current request gets a disconnect."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        self.logger.warning("Refused a request with %d: %s", refused.status, refused.text)
        head = f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}\r\n".encode()
        text = refused.text.encode() + b"\n"
        length = f"content-length: {len(text)}\r\n\r\n".encode()
        self.transport.write(head + _REFUSAL_HEADERS + length + text)
        self._linger()

    def close_idle(self) -> None:
        """Close in favour of a newer connection. The last answer may be unread."""
        if self._out.inner.get_write_buffer_size():
            self._out.reset()
        else:
            self._out.inner.close()

    def _on_head_timeout(self) -> None:
        """Close because the head has not arrived in time."""
        self._timer = None
        if self._framing:
            self._refuse(HeadRefused(408, "The request did not arrive in time."))
        else:
            self._out.inner.close()

    def _close(self) -> None:
        """Close when everything is sent; linger if bytes of the client are unread or still to come."""
        if self._discarded is None and not self._out.inner.is_closing():
            if self._received.count or self._phase in {_BODY, _CHUNKS}:
                self._linger()
            else:
                self._out.inner.close()

    def _linger(self) -> None:
        """Send the end of the stream, and discard further data for a while.

        Closing a socket with unread bytes resets the connection, and the client may lose the answer (RFC 9112, 9.6).
        """
        self._discarded = 0
        self._received.clear()
        self._out.is_finishing = True
        self._unset_keepalive_if_required()
        if self._out.inner.can_write_eof():
            self._out.inner.write_eof()
        self._flow.hold(False)
        self._flow.resume_reading()
        self._start_timer(LINGER_SECONDS, self._out.inner.close)

    def _discard(self, count: int) -> None:
        self._discarded = (self._discarded or 0) + count
        if self._discarded > LINGER_BYTES:
            self._out.inner.close()

    def _start_timer(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, act)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
