"""One request of a connection and its response. Replaces uvicorn's ASGI channels at a third of their CPU time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, RequestResponseCycle

from app.asgi import Link
from app.flags import Flag

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that no header can contain. Line ends are counted instead."""

_LENGTH, _CONNECTION = b"content-length", b"connection"

_NO_BODY = frozenset({204, 304})
"""Final statuses without a body (RFC 9110, 6.4.1)."""


class Exchange(RequestResponseCycle, Link):
    """One request and its response.

    The head and the body of a response with a length are written together. The header names of all responses are
    checked once, and the header values of one response together.

    Attributes:
        on_stream: called once, when a response without a length begins; ``None`` for no call.
    """

    def __init__(
        self,
        scope: Any,
        connection: HttpToolsProtocol,
        *,
        keep_alive: bool,
        expect_100_continue: bool = False,
        body: bytes | None = None,
    ) -> None:
        arrived: Any = Flag(is_set=body is not None)  # uvicorn's type is an event
        super().__init__(
            scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=arrived,
            expect_100_continue=expect_100_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )
        self._head = b""
        self._on_left: Callable[[], None] | None = None
        self.on_stream: Callable[[], None] | None = None
        if body is not None:
            self.body, self.more_body = body, False  # type: ignore[assignment] # is only read, and need not be copied

    def whole_body(self) -> bytes | None:
        """Take the request's body, if the whole body has arrived and the application has read no part of it.

        Returns:
            The body as received, or ``None`` if the application must call ``receive`` instead.
        """
        if self.more_body or self.disconnected or self.waiting_for_100_continue or not self.message_event.is_set():
            return None
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return body

    def watch(self, act: Callable[[], None]) -> bool:
        """Call ``act`` when the client disconnects. Return false if the application must call ``receive`` instead.

        If a part of the body is unread, reading from the connection can be paused, and a disconnect is not detected.
        """
        if self.more_body or self.body or self.disconnected or self.response_complete:
            return False
        if self.flow.read_paused:
            self.flow.resume_reading()
        self._on_left = act
        return True

    def unwatch(self) -> None:
        """Undo ``watch``."""
        self._on_left = None

    def left(self) -> None:
        """Notify the application that the client has disconnected before the end of the response."""
        self.on_stream = None
        if self.response_complete:
            return
        self.disconnected = True
        self.message_event.set()
        act, self._on_left = self._on_left, None
        if act is not None:
            act()

    async def send(self, message: Any) -> None:
        """Send a part of the response. See ASGI's ``send``."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
            self._start(message["status"], message.get("headers", ()))
        elif self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"Unexpected ASGI message '{kind}'.")
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, headers: Any) -> None:
        parts = [STATUS_LINE[status]]
        fields = [*self.default_headers, *headers]
        for name, value in fields:
            parts += (_checked(name), b": ", value, b"\r\n")
        names = parts[1::4]
        if _LENGTH in names and self.chunked_encoding is None:
            length = parts[4 * names.index(_LENGTH) + 3]
            self.expected_content_length, self.chunked_encoding = int(length), False
        closes = _CONNECTION in names and _closes(zip(names, parts[3::4], strict=True))
        lines = len(fields) + 1
        self.keep_alive = self.keep_alive and not closes
        if not self.keep_alive and not closes:
            parts.append(b"connection: close\r\n")
            lines += 1
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        if head.count(b"\n") != lines + 1 or head.count(b"\r") != lines + 1 or _CONTROL.search(head) is not None:
            raise RuntimeError("Invalid HTTP header value.")
        self.response_started, self.waiting_for_100_continue = True, False
        if self.expected_content_length:
            self._head = head  # the body follows at once
        else:
            self.transport.write(head)
        act, self.on_stream = self.on_stream, None  # also breaks a reference cycle
        if act is not None and self.chunked_encoding:
            act()

    def _write(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length, data = 0, b""
        elif self.chunked_encoding:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            data = data if more else data + b"0\r\n\r\n"
        else:
            data = body
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("Response content longer than Content-Length")
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self.transport.write(data)
        if more:
            return
        if self.expected_content_length:
            raise RuntimeError("Response content shorter than Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _closes(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    options = [option for name, value in fields if name == _CONNECTION for option in value.split(b",")]
    return b"close" in [option.strip().lower() for option in options]


@lru_cache(256)  # responses have few different header names
def _checked(name: bytes) -> bytes:
    """Return a header name in lower case. Raise RuntimeError if it is not a token."""
    if HEADER_RE.search(name) is not None:
        raise RuntimeError("Invalid HTTP header name.")
    return name.lower()
