"""Connections of aiohttp, with corrections for answers that aiohttp misreads."""

from __future__ import annotations

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
    """aiohttp's protocol, with two corrections.

    - A reset is an error also if the body has no declared length; aiohttp takes it for the end of the body.
    - Bytes after the head of a 204 or 304 are dropped (RFC 9112, 6.3); aiohttp fails the answer. The connection is
      closed, since later bytes would be read as the beginning of the next answer.

    Attributes:
        requests: the number of requests that this connection has carried.
        has_answered: whether a byte of the answer to the last request has come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.requests = 0
        self.has_answered = False
        self._start = b""
        self._bodyless = False

    def set_response_params(self, **params: Any) -> None:
        """Called by aiohttp before each request on this connection."""
        self.requests += 1
        self.has_answered = self._bodyless = False
        self._start = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Receive bytes."""
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
        """The connection has ended. ``exc`` is ``None`` if the service closed it in order."""
        if self._start:
            self.has_answered, rest, self._start = True, self._start, b""
            super().data_received(rest)
        body = self._payload
        if exc is not None and body is not None and not body.is_eof():
            body.set_exception(ce.ClientPayloadError("connection lost before the end of the body"), exc)
        super().connection_lost(exc)


class Response(aiohttp.ClientResponse):
    """An answer that can drop its headers, since its body may be read for minutes."""

    __slots__ = ("_cache", "_loop", "_real_url", "_request_info", "_timer", "_traces", "_url", "method")

    def drop_headers(self) -> None:
        """Drop the headers of the request and of the answer, which have been read."""
        del self._request_info, self._headers, self._raw_headers
        self._cache.clear()


class Attempt:
    """One request, and the connection that carries it."""

    def __init__(self) -> None:
        self.protocol: Protocol | None = None

    @property
    def met_a_dropped_connection(self) -> bool:
        """Whether it was sent over a kept-alive connection and no byte of an answer came."""
        return self.protocol is not None and self.protocol.requests > 1 and not self.protocol.has_answered


_ATTEMPT: ContextVar[Attempt] = ContextVar("attempt")
"""aiohttp does not report the connection of a failed request. It takes it in the task that makes the request."""


def begin_attempt() -> Attempt:
    """Record the connection of the request that the running task sends next."""
    attempt = Attempt()
    _ATTEMPT.set(attempt)
    return attempt


class Connector(aiohttp.TCPConnector):
    """A connector whose connections use ``Protocol``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(Protocol, loop=self._loop)  # type: ignore[assignment]

    @property
    def in_use(self) -> int:
        """The number of connections that carry a request."""
        return len(self._acquired)

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Take a connection for a request."""
        connection = await super().connect(*args, **options)
        if isinstance(connection.protocol, Protocol):
            _ATTEMPT.get().protocol = connection.protocol
        return connection
