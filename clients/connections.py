"""Corrects aiohttp's connections, which misread some HTTP responses."""

import asyncio
import functools
import re
from contextvars import ContextVar
from typing import Any

import aiohttp
from aiohttp import client_exceptions as ce
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

_NO_BODY = re.compile(rb"HTTP/1\.[01] (?:204|304)[ \r\n]")
_STATUS_BYTES = len(b"HTTP/1.1 204 ")
_HEAD_END = re.compile(rb"\n\r?\n")


class Protocol(ResponseHandler):
    """aiohttp's ``ResponseHandler``, with corrections for two kinds of responses.

    - If a connection is reset, aiohttp treats a body without a declared length as complete. Here the reset is an error.
    - If bytes follow the head of a 204 or 304, aiohttp reports an error. Here the bytes are dropped (RFC 9112, 6.3).
      The connection is closed, since later bytes would be read as the next answer.

    Attributes:
        requests: the number of requests that the connection has carried.
        has_answered: whether any byte of the answer to the last request has arrived.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.requests = 0
        self.has_answered = False
        self._start = b""
        self._bodyless = False

    def set_response_params(self, **params: Any) -> None:
        """Prepare the connection for the next response. aiohttp calls this method before each request."""
        self.requests += 1
        self.has_answered = self._bodyless = False
        self._start = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Receive bytes from the service. Bytes after the head of a 204 or 304 response are dropped."""
        if self._bodyless:
            return
        if not self.has_answered:
            data = self._start + data
            if len(data) < _STATUS_BYTES or (_NO_BODY.match(data) and not _HEAD_END.search(data)):
                self._start = data
                return
            self.has_answered, self._start = True, b""
            if _NO_BODY.match(data) and (head := _HEAD_END.search(data)):
                self._bodyless = True
                self.force_close()
                data = data[: head.end()]
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Handle the end of the connection. ``exc`` is ``None`` if the service closed the connection normally."""
        if self._start:
            self.has_answered, rest, self._start = True, self._start, b""
            super().data_received(rest)
        body = self._payload
        if exc is not None and body is not None and not body.is_eof():
            body.set_exception(ce.ClientPayloadError("connection lost before the end of the body"), exc)
        super().connection_lost(exc)


class Response(aiohttp.ClientResponse):
    """An HTTP response that can free its headers before the body is read. Reading the body can take minutes."""

    __slots__ = ("_cache", "_loop", "_real_url", "_request_info", "_timer", "_traces", "_url", "method")

    def drop_headers(self) -> None:
        """Free the memory of the request's headers and the response's headers."""
        del self._request_info, self._headers, self._raw_headers
        self._cache.clear()


class Attempt:
    """One attempt to send a request, with the connection that carries the request."""

    def __init__(self) -> None:
        self.protocol: Protocol | None = None

    @property
    def met_a_dropped_connection(self) -> bool:
        """Whether the request used a kept-alive connection and received no byte of an answer."""
        return self.protocol is not None and self.protocol.requests > 1 and not self.protocol.has_answered


_ATTEMPT: ContextVar[Attempt] = ContextVar("attempt")
"""The current task's attempt to send a request. aiohttp does not report the connection of a failed request."""


def begin_attempt() -> Attempt:
    """Return an ``Attempt`` for the current task's next request."""
    attempt = Attempt()
    _ATTEMPT.set(attempt)
    return attempt


class Connector(aiohttp.TCPConnector):
    """An aiohttp connector whose connections use ``Protocol``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(Protocol, loop=self._loop)  # type: ignore[assignment]

    @property
    def in_use(self) -> int:
        """The number of connections that are carrying a request."""
        return len(self._acquired)

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Get a connection, and store the connection in the current task's ``Attempt``."""
        connection = await super().connect(*args, **options)
        if isinstance(connection.protocol, Protocol):
            _ATTEMPT.get().protocol = connection.protocol
        return connection
