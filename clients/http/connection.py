"""An HTTP/1.1 connection of a client."""

import asyncio
import math
import time
from typing import Protocol, cast

import httptools
import httpx

from clients.http.answer import ReceivedAnswer
from clients.http.errors import IdleConnectionDropped
from clients.http.messages import Failure, RawHeaders, RawRequest, Timeouts
from clients.http.tls import is_end_authentic

MAX_HEADERS, MAX_HEADER_BYTES = 128, 8190
"""The maximum number of headers in an answer, and a header's maximum size in bytes."""

PIECE_BYTES = 64 * 1024
"""The maximum size of one write of a request body, in bytes."""

_GRAIN_SECONDS = 0.001
"""The resolution of uvloop's timers."""

_PARSER_ERRORS = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_NO_TIMEOUTS = Timeouts()


class Pooling(Protocol):
    """The pool of a connection."""

    def give_back(self, connection: "Connection") -> None:
        """Take back a connection that can carry another request."""

    def drop(self, connection: "Connection") -> None:
        """Remove a closed connection."""


class Connection(asyncio.Protocol):
    """A connection, which carries one request at a time.

    The connection has one timer, which is set again only if it fires, or for an earlier deadline. Most requests end
    long before their deadline, and do not set the timer.

    Attributes:
        idle_until: when an idle connection expires, as a value of ``time.monotonic()``.
        is_lost: whether the connection has been closed completely.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_answer",
        "_changed_at",
        "_has_length",
        "_header_count",
        "_headers",
        "_is_bodyless",
        "_is_done",
        "_is_head",
        "_is_interim",
        "_is_paused",
        "_is_reusable",
        "_is_started",
        "_is_write_paused",
        "_loop",
        "_outgoing",
        "_parser",
        "_pieces",
        "_pool",
        "_problem",
        "_requests",
        "_timeouts",
        "_transport",
        "_unparsed",
        "idle_until",
        "is_lost",
    )

    def __init__(self, pool: Pooling, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: ReceivedAnswer | None = None
        self._outgoing: memoryview | None = None
        self._timeouts = _NO_TIMEOUTS
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = self._changed_at = self.idle_until = 0.0
        self._requests = 0
        self._is_paused = self._is_write_paused = self.is_lost = False
        self._reset()

    def _reset(self) -> None:
        self._headers: RawHeaders = []
        self._pieces: list[bytes] = []
        self._header_count, self._unparsed, self._problem = 0, 0, ""
        self._is_started = self._is_interim = self._is_done = self._has_length = self._is_bodyless = False

    @property
    def is_open(self) -> bool:
        """Whether the connection can carry a request."""
        return self._transport is not None and not self._transport.is_closing()

    # Sending

    def begin(self, request: RawRequest) -> ReceivedAnswer:
        """Send a request, and return the answer that the connection will receive."""
        answer = ReceivedAnswer(self, request.deadline)
        transport = self._transport
        if transport is None or transport.is_closing():
            self.abort()
            answer.end(Failure(httpx.ConnectError, "The connection was closed before the request was sent."))
            return answer
        self._requests += 1
        self._reset()
        self._answer = answer
        self._is_head = request.method == "HEAD"
        self._is_reusable = not request.fresh
        self._timeouts = request.timeouts
        if self._parser is None:
            self._parser = parser = httptools.HttpResponseParser(self)
            # RFC 9112 allows both: a line that ends with LF (2.2), and spaces after the size of a chunk (7.1.1)
            parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
        end, body = b"connection: close\r\n\r\n" if request.fresh else b"\r\n", request.body
        if len(body) <= PIECE_BYTES:
            transport.write(request.head + end + body)
        else:
            self._outgoing = memoryview(body)
            transport.write(request.head + end)
            self._write()
        return answer

    def _write(self) -> None:
        while (body := self._outgoing) is not None and not self._is_write_paused and self.is_open:
            self._outgoing = body[PIECE_BYTES:] if len(body) > PIECE_BYTES else None
            cast("asyncio.Transport", self._transport).write(body[:PIECE_BYTES])

    def pause_writing(self) -> None:
        """Stop writing, because the server does not read."""
        self._is_write_paused = True
        self._changed_at = time.monotonic()
        if self._timeouts.write is not None:
            self._set_alarm(self._changed_at + self._timeouts.write)

    def resume_writing(self) -> None:
        """Write the next pieces of the request's body."""
        self._is_write_paused = False
        self._changed_at = time.monotonic()
        self._write()

    # Waiting

    def event(self) -> asyncio.Future[None]:
        """Return a future for the answer's next part, and start the timeouts."""
        answer = self._answer
        due = math.inf if answer is None else answer.deadline
        if self._timeouts.read is not None:
            self._changed_at = time.monotonic()
            due = min(due, self._changed_at + self._timeouts.read)
        if due == math.inf and not self._is_write_paused:
            self._stop_alarm()  # 640 bytes, and a stream can run for hours
        elif due < math.inf:
            self._set_alarm(due)
        return self._loop.create_future()

    def _set_alarm(self, due: float) -> None:
        if self._alarm is not None and self._alarm_at <= due:
            return
        self._stop_alarm()
        self._alarm_at = due
        self._alarm = self._loop.call_later(max(due - time.monotonic(), _GRAIN_SECONDS), self._ring)

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self) -> None:
        self._alarm = None
        due, error = self._due()
        if due - time.monotonic() <= _GRAIN_SECONDS:
            self._fail(Failure(error, "The server did not answer in time."))
        elif due < math.inf:
            self._set_alarm(due)

    def _due(self) -> tuple[float, type[Exception]]:
        """Return the end of the current timeout, as a value of ``time.monotonic()``, and the error to raise then."""
        answer = self._answer
        if answer is None:
            return math.inf, TimeoutError
        is_writing = self._is_write_paused
        seconds = self._timeouts.write if is_writing else self._timeouts.read if answer.is_awaited else None
        due = math.inf if seconds is None else self._changed_at + seconds
        if answer.is_awaited and answer.deadline <= due:
            return answer.deadline, TimeoutError
        return due, httpx.WriteTimeout if is_writing else httpx.ReadTimeout

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport. With TLS, the handshake is complete."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the server. If no answer is expected, close the connection."""
        answer, parser = self._answer, self._parser
        if answer is None or parser is None:
            self.abort()
            return
        self._is_started = True
        if self._timeouts.read is not None and not self._is_write_paused:
            self._changed_at = time.monotonic()
        self._unparsed += len(data)
        invalid: Exception | None = None
        try:
            parser.feed_data(data)
        except _PARSER_ERRORS as error:
            invalid = error
        if self._pieces:
            pieces, self._pieces, self._unparsed = self._pieces, [], 0
            answer.add(pieces)
        if invalid is not None:
            if not self._is_done:
                message = self._problem or f"The server's answer is not valid HTTP: {invalid}"
                self._fail(Failure(httpx.RemoteProtocolError, message))
                return
            self._is_reusable = False
        if self._is_done:
            self._finish(answer)
        elif self._unparsed > MAX_HEADER_BYTES + 64:
            message = "A header, a trailer or a chunk extension of the answer is too large."
            self._fail(Failure(httpx.RemoteProtocolError, message))
        elif answer.status and answer.notify() and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the connection again, if reading is paused."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def eof_received(self) -> None:
        """Handle the server's end of the connection."""
        self._end(None, is_complete=is_end_authentic(self._transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the connection's end. ``exc`` is ``None`` if the connection was closed without an error."""
        self.is_lost = True
        self._end(exc)

    def _end(self, exc: Exception | None, *, is_complete: bool = False) -> None:
        answer = self._answer
        if answer is None:
            self.abort()
        elif is_complete and answer.status and not self._has_length:
            self._is_reusable = False
            self._finish(answer)
        else:
            self._fail(self._cut(exc))

    def _cut(self, exc: Exception | None) -> Failure:
        if not self._is_started and self._requests > 1:
            return Failure(IdleConnectionDropped, "The server closed the idle connection.", exc)
        if exc is None:
            return Failure(httpx.RemoteProtocolError, "The server closed the connection before the answer's end.")
        is_writing = self._outgoing is not None or self._is_write_paused
        return Failure(httpx.WriteError if is_writing else httpx.ReadError, str(exc) or type(exc).__name__, exc)

    def _finish(self, answer: ReceivedAnswer) -> None:
        self._answer = None
        answer.end()
        is_written = self._outgoing is None and not self._is_write_paused
        if self._is_reusable and is_written and self.is_open:
            self.resume()
            self._pool.give_back(self)
        else:
            self.abort()

    def _fail(self, failure: Failure) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.end(failure)
        self.abort()

    def cut(self, message: str) -> None:
        """Close the connection. An answer that is incomplete fails."""
        self._fail(Failure(httpx.ReadError, message))

    def abort(self) -> None:
        """Close the connection, without notifying an answer in progress."""
        self._answer = self._parser = self._outgoing = None  # frees the parser, which refers to the connection
        self._stop_alarm()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._pool.drop(self)

    # Called by the parser

    def on_message_begin(self) -> None:
        """Mark the connection as not reusable if the server sends a second answer to one request."""
        if self._is_done:
            self._is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header. Trailers count towards ``MAX_HEADERS``, and are discarded."""
        self._header_count += 1
        self._unparsed = 0
        if self._header_count > MAX_HEADERS or len(name) + len(value) > MAX_HEADER_BYTES:
            self._problem = "The answer has too many headers, or a header that is too large."
            raise ValueError
        self._headers.append((name, value))
        if len(name) in {14, 17}:
            name = name.lower()
            if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
                self._has_length = True

    def on_headers_complete(self) -> None:
        """Pass the status and headers to the answer. Discard interim answers (RFC 9110, 15.2)."""
        answer, parser = self._answer, self._parser
        if self._is_done or answer is None or parser is None:
            return
        status, headers, self._headers = parser.get_status_code(), self._headers, []
        if 100 <= status < 200 and status != 101:
            self._is_interim, self._has_length = True, False
            return
        if status < 100:
            self._problem = f"The answer's status {status} is not valid."
            raise ValueError
        if self._outgoing is not None and status >= 300:  # the server does not want the rest of the body
            self._outgoing, self._is_reusable = None, False
        answer.begin(status, headers)
        if self._is_head or status in {101, 204, 304}:
            # These answers have no body (RFC 9112, 6.3). Further bytes would be parsed as the next request's answer.
            self._is_done, self._is_reusable = True, False

    def on_body(self, data: bytes) -> None:
        """Store a part of the answer's body until all bytes that have arrived are parsed."""
        if not self._is_done:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Mark the answer as complete, unless it is an interim answer."""
        if self._is_interim:
            self._is_interim = False
        elif not self._is_done and self._parser is not None:
            self._is_done = True
            self._is_reusable = self._is_reusable and self._parser.should_keep_alive()
