"""Implements HTTP connections with timeouts and limits, based on uvicorn's HTTP protocol.

========================  ======================================  ==========================================
state                     timeout: response status                limit: response status
========================  ======================================  ==========================================
nothing received          ``head_seconds`` since the start
a head                    ``head_seconds`` since its first byte:  ``MAX_HEAD_BYTES``, ``MAX_HEADERS``: 431;
                          408                                     ``MAX_HEADS_BYTES`` of all connections
a body that is read       in ``read_body``                        in ``read_body``
chunk lines and trailers  in ``read_body``                        ``MAX_HEAD_BYTES``, with the head: 431
an unread body            ``LINGER_SECONDS`` after the answer     ``LINGER_BYTES``
an answer in progress     in the application                      ``HELD_BYTES`` of further requests
an unread answer          ``WRITE_TIMEOUT_SECONDS`` (``Unsent``)  ``MAX_UNSENT_BYTES`` of all connections
idle between requests     ``KEEP_ALIVE_SECONDS``, by uvicorn      one head, as above
any                                                               ``MAX_CONNECTIONS`` (``IdleConnections``)
========================  ======================================  ==========================================
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

import httptools

from app.connections.exchange import Exchange
from app.connections.flow import HoldingFlow
from app.connections.heads import (
    MAX_HEAD_BYTES,
    HeadRefused,
    check_head,
    check_socket_head,
    fill,
    head_too_large,
    without_upgrade,
)
from app.connections.http10 import Http10Protocol
from app.connections.idle_connections import IdleConnections
from app.connections.outgoing import Outgoing, Unsent
from app.connections.phase import Phase
from app.connections.received import Received

LINGER_SECONDS = 2.0
"""How long the gateway discards a request's remaining bytes after an early response, in seconds."""

LINGER_BYTES = 16 * 2**20
"""Maximum number of bytes that the gateway discards from a request after an early response."""

HELD_BYTES = 64 * 1024
"""If a connection buffers this many bytes of pipelined requests, the gateway pauses reading."""

UNSENT_BYTES = 128 * 1024
"""The size of the kernel's send buffer, in bytes. ``Unsent`` treats the bytes in this buffer as read by the client."""

_MAX_PIECE = 64 * 1024
_CHUNK_LINE = 16
"""While a chunk is incomplete, the head and chunk lines together may exceed ``MAX_HEAD_BYTES`` by this many bytes."""


_HEAD, _BODY, _CHUNKS, _ANSWER = Phase  # a global is three times as fast as an enum's attribute


class Connection(Http10Protocol):
    """An HTTP connection with a client.

    A pipelined request is parsed after the response to the previous request has ended.

    Args:
        head_seconds: the timeout of a request's head.
        unsent: limits the unread bytes of all connections.
        idle: all connections that wait for a request.
    """

    cycle: Exchange

    # with more than 30 attributes outside slots, CPython makes a dict for each connection
    __slots__ = (
        "_chunk", "_discarded", "_flow", "_framing", "_head_seconds", "_idle", "_idle_since", "_keeps_alive", "_left",
        "_out", "_phase", "_piece", "_received", "_refusal", "_timer", "_unsent",
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
        self._discarded: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's type
        """Prepare a new connection, and start the timeout for request headers."""
        super().connection_made(transport)
        with suppress(OSError, AttributeError):  # not every system or kind of socket has the option
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.flow = self._flow = HoldingFlow(transport)
        self._out = Outgoing(transport, self.loop.call_soon)
        self._out.on_close = self._close
        self.transport = cast("asyncio.Transport", self._out)
        self._start_timer(self._head_seconds, self._on_head_timeout)
        self._unsent.watch()
        self._idle.add(self)
        self._idle.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's resources, and notify the application of the disconnect."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._idle.remove(self)
        self._received.clear()
        self._out.on_close = self._out.inner.close  # breaks a reference cycle
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.left()

    @property
    def awaits_request(self) -> bool:
        """Whether the connection has received no byte of its next request."""
        return self._phase is _HEAD and not self._framing and not self._received.count and self._discarded is None

    def await_answer(self) -> None:
        """Record that a complete request has been received."""
        self._stop_timer()
        self._idle.remove(self)
        self._phase = _ANSWER

    def shutdown(self) -> None:
        """Close the connection after the answer to the current request."""
        self._keeps_alive = False
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of the current request, and buffer the bytes of later requests."""
        if self._discarded is not None:
            self._discard(len(data))
            return
        self._received.add(data)
        self._feed()

    def _feed(self) -> None:
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
        """Parse the next received bytes. Raise HeadRefused or HttpParserError if the bytes are invalid."""
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
        """Raise HeadRefused if the head, chunk lines and trailers together are too large."""
        allowance = 0 if self._phase is _ANSWER else _CHUNK_LINE
        if self._framing > MAX_HEAD_BYTES + allowance:
            raise head_too_large()

    def _size_of_piece(self) -> int:
        if self._phase is _BODY:
            return min(self._received.count, self._left)
        room = _MAX_PIECE
        if self._phase is _HEAD:
            room = MAX_HEAD_BYTES - self._framing
            if not room:
                raise head_too_large()
        return min(self._received.to_end_of_head(), room)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a request header. Ignore a trailer (RFC 9110, 6.5.1)."""
        if self._phase is _HEAD:
            name, value = name.lower(), value.rstrip(b" \t")
            self.expect_100_continue |= name == b"expect" and value.lower() == b"100-continue"
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check a request's headers, and begin to serve the request."""
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
        self._left = int(fields.get(b"content-length", 0))  # the parser has checked the value
        self._serve()

    def _serve(self) -> None:
        """Begin to serve a request. The connection is not kept alive if the response begins before the request ends."""
        scope: Any = self.scope
        fill(scope, self.parser, self.url, self.root_path)
        self._keeps_alive = scope["http_version"] != "1.0" and self.parser.should_keep_alive()
        self.cycle = Exchange(scope, self, keep_alive=False, expect_100_continue=self.expect_100_continue)
        self._start_asgi_task(self.cycle, self.app)

    def _check(self, *, is_socket: bool) -> None:
        method, size = self.parser.get_method(), self._framing + self._piece
        check_head(self.headers, method=method, version=self.parser.get_http_version(), size=size)
        if is_socket:
            check_socket_head(self.headers, self.url)

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the request's body to the application."""
        if self._phase is _CHUNKS:
            self._chunk += len(body)
            self._framing -= len(body)
        super().on_body(body)

    def on_chunk_complete(self) -> None:
        """Do not count a complete chunk's framing towards ``MAX_HEAD_BYTES``.

        The framing is the hexadecimal length and two line ends.
        """
        self._framing -= max(1, (self._chunk.bit_length() + 3) // 4) + 4
        self._chunk = 0

    def on_message_complete(self) -> None:
        """Handle the end of a request. If no response has begun, allow the client to reuse the connection."""
        if self.parser.should_upgrade():
            return
        self._phase = _ANSWER
        super().on_message_complete()
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive

    def on_response_complete(self) -> None:
        """After a response, begin to parse or await the next request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self._phase is _ANSWER:
            self._phase, self._framing = _HEAD, 0
            self._idle.add(self)
            self.await_request()
            if self._received.count:
                self.loop.call_soon(self._feed_held)

    def _feed_held(self) -> None:
        if not self.transport.is_closing():
            self._feed()

    def _read_again(self) -> None:
        """Parse the head again without ``Upgrade``. Otherwise, the parser would treat the body as another request."""
        line = self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(without_upgrade(line, self.headers))

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._unset_keepalive_if_required()
        self._phase = _ANSWER
        self._out.on_close = self._out.inner.close
        # a cookie may be longer than the WebSocket parser allows
        self.scope["headers"] = [one for one in self.headers if one[0] != b"cookie"]
        super().handle_websocket_upgrade()
        del self.parser  # breaks a reference cycle

    def _refuse(self, refused: HeadRefused) -> None:
        """Answer with an error, and close the connection. Notify the application of the disconnect."""
        cycle: Exchange | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.left()
            if cycle.response_started:
                self.transport.abort()
                return
        self.logger.warning("Refused a request with %d: %s", refused.status, refused.text)
        self.transport.write(refused.answer())
        self._linger()

    def close_idle(self) -> None:
        """Close an idle connection. If a part of an answer is unsent, reset the connection."""
        if self._out.get_write_buffer_size():
            self._out.reset()
        else:
            self._out.close_inner()

    def _on_head_timeout(self) -> None:
        self._timer = None
        if self._framing:
            self._refuse(HeadRefused(408, "The request line and headers did not arrive in time. Retry the request."))
        else:
            self._out.close_inner()

    def _close(self) -> None:
        """Close the connection after all data is sent. First discard the rest of an unread request."""
        if self._discarded is None and not self._out.inner.is_closing():
            if self._received.count or self._phase in {_BODY, _CHUNKS}:
                self._linger()
            else:
                self._out.close_inner()

    def _linger(self) -> None:
        """Stop sending, and discard received data for ``LINGER_SECONDS``.

        Closing a socket with unread bytes resets the connection, and the client may lose the answer (RFC 9112, 9.6).
        """
        self._discarded = 0
        self._received.clear()
        self._out.is_finishing = True
        self._unset_keepalive_if_required()
        if self._out.inner.can_write_eof():
            self._out.write_eof()
        self._flow.hold(False)
        self._flow.resume_reading()
        self._start_timer(LINGER_SECONDS, self._out.close_inner)

    def _discard(self, count: int) -> None:
        self._discarded = (self._discarded or 0) + count
        if self._discarded > LINGER_BYTES:
            self._out.close_inner()
