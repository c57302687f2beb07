"""Connections of aiohttp, corrected where aiohttp misreads what comes over them."""

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
    """aiohttp's protocol, corrected where it takes a broken answer for a good one, or the reverse.

    - A reset is an error also where the body has no declared length; aiohttp takes it for the body's end.
    - Bytes after the head of a 204 or 304 are dropped (RFC 9112, 6.3); aiohttp fails the answer. Its connection is
      closed, since late ones would be read as the beginning of the next answer.

    Attributes:
        requests: how many requests this connection has carried.
        heard: whether a byte of the answer to the last of them has come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.requests = 0
        self.heard = False
        self._start = b""
        self._bodyless = False

    def set_response_params(self, **params: Any) -> None:
        """Called by aiohttp before each request on this connection."""
        self.requests += 1
        self.heard = self._bodyless = False
        self._start = b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        if self._bodyless:
            return
        if not self.heard:
            data = self._start + data
            if len(data) < _STATUS_BYTES or (_NO_BODY.match(data) and not _HEAD_END.search(data)):
                self._start = data
                return
            self.heard, self._start = True, b""
            if _NO_BODY.match(data) and (head := _HEAD_END.search(data)):
                self._bodyless = True
                self.force_close()
                data = data[: head.end()]
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone; ``exc`` is ``None`` where the upstream closed it in order."""
        if self._start:
            self.heard, rest, self._start = True, self._start, b""
            super().data_received(rest)
        body = self._payload
        if exc is not None and body is not None and not body.is_eof():
            body.set_exception(ce.ClientPayloadError("connection lost before the end of the body"), exc)
        super().connection_lost(exc)


class Response(aiohttp.ClientResponse):
    """An answer whose body may be read for minutes, and which need not keep what was sent and told before it."""

    __slots__ = ("_cache", "_loop", "_real_url", "_request_info", "_timer", "_traces", "_url", "method")

    def forget_heads(self) -> None:
        """Drop the headers of the request and of the answer. They have been read."""
        del self._request_info, self._headers, self._raw_headers
        self._cache.clear()


class Attempt:
    """One request on the wire, and the connection that it got."""

    def __init__(self) -> None:
        self.protocol: Protocol | None = None

    @property
    def met_a_dropped_connection(self) -> bool:
        """Whether it went over a kept-alive connection and no byte came back."""
        return self.protocol is not None and self.protocol.requests > 1 and not self.protocol.heard


_ATTEMPT: ContextVar[Attempt] = ContextVar("attempt")
"""aiohttp does not tell which connection a failed request had; it takes one in the task that asks."""


def attempt_begins() -> Attempt:
    """Note the connection of the request that the running task sends next."""
    attempt = Attempt()
    _ATTEMPT.set(attempt)
    return attempt


class Connector(aiohttp.TCPConnector):
    """Connections that speak through ``Protocol``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(Protocol, loop=self._loop)  # type: ignore[assignment]

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Take a connection for a request."""
        connection = await super().connect(*args, **options)
        if isinstance(connection.protocol, Protocol):
            _ATTEMPT.get().protocol = connection.protocol
        return connection
