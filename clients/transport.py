"""The wire: httpx's transport interface over aiohttp.

httpx's own pool loses slots for good when requests are cancelled, and costs a twentieth of the requests per
CPU-second. Everything above this seam speaks httpx and knows nothing of aiohttp.

No cookies, no redirects, no decompression, no proxies, no repeats: one request is one attempt, and what the upstream
says is what the caller gets.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator

import aiohttp
import httpx
from aiohttp import client_exceptions as ce
from multidict import CIMultiDict
from yarl import URL

from clients.connections import Connector, Response, attempt_begins

KEEPALIVE_SECONDS = 4.0
"""Shorter than any upstream's idle timeout (uvicorn's is 5), so that no request meets a connection that just closed."""

MAX_HEADERS, MAX_HEADER_BYTES = 128, 8190
"""How many headers an answer may have, and how long one of them may be."""

PIECE_BYTES = 64 * 1024
"""A body is written in pieces of this size, about what a connection's buffer takes without waiting."""

_ERRORS: tuple[tuple[type[BaseException], type[httpx.TransportError]], ...] = (
    (ce.ConnectionTimeoutError, httpx.ConnectTimeout),
    (ce.ServerTimeoutError, httpx.ReadTimeout),
    (asyncio.TimeoutError, httpx.ReadTimeout),
    (ce.ClientConnectorError, httpx.ConnectError),
    (ce.ServerDisconnectedError, httpx.RemoteProtocolError),
    (ce.ClientPayloadError, httpx.RemoteProtocolError),
    (ce.ClientOSError, httpx.ReadError),
    (ce.ClientConnectionError, httpx.ReadError),
    (ce.InvalidURL, httpx.UnsupportedProtocol),
    (ce.ClientResponseError, httpx.RemoteProtocolError),
    (ce.ClientError, httpx.TransportError),
)
"""First match wins, so the most specific come first. A connection dropped after the request went out is never a
connect error: it must not look safe to send again."""

_CAUGHT = (ce.ClientError, asyncio.TimeoutError, ConnectionError)
_DROPPED = (ce.ServerDisconnectedError, ce.ClientOSError, ConnectionError)

FRESH = "agentgraph.fresh_connection"
"""Request extension: send this request over a new connection, never over one that was kept alive."""


class IdleConnectionDropped(httpx.RemoteProtocolError):
    """A kept-alive connection was closed by the upstream before any byte of the answer came."""


def _translated(error: BaseException, request: httpx.Request | None = None) -> httpx.TransportError:
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(type(error).__name__, request=request)
    return httpx.ReadError(type(error).__name__, request=request)


class _Slots:
    """Room for a number of calls at a time; each leaves once, however often it is told to."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self._room = asyncio.Semaphore(limit)

    async def enter(self, seconds: float | None) -> None:
        async with asyncio.timeout(seconds):
            await self._room.acquire()
        self.in_use += 1

    def leave(self) -> None:
        self.in_use -= 1
        self._room.release()


class _Body(httpx.AsyncByteStream):
    """A response's bytes as they come. Closed before its end, it takes its connection with it."""

    __slots__ = ("_response", "_slots")

    def __init__(self, response: aiohttp.ClientResponse, slots: _Slots) -> None:
        self._response = response
        self._slots: _Slots | None = slots

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except _CAUGHT as error:
            raise _translated(error) from error

    async def aclose(self) -> None:
        if self._response.content.at_eof() and self._response.content.exception() is None:
            self._response.release()
        else:
            self._response.close()
        if self._slots is not None:
            self._slots.leave()
            self._slots = None


class AiohttpTransport(httpx.AsyncBaseTransport):
    """At most ``limit`` calls at a time to whatever hosts it is asked for. ``tls`` replaces the default trust.

    The pool itself is unbounded and the bound stands in front of it, so that a cancelled call cannot take its slot
    along. The sessions, one that keeps connections alive and one that does not, are made in the loop that first uses
    them.
    """

    def __init__(self, *, limit: int = 256, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._slots = _Slots(limit)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    @property
    def in_use(self) -> int:
        """How many calls hold a slot now."""
        return self._slots.in_use

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        The request's body must be in memory: it is what a client builds from bytes.

        Raises:
            IdleConnectionDropped: the kept-alive connection that it was sent over was closed before an answer began.
            httpx.TransportError: ConnectTimeout, ConnectError, PoolTimeout: nothing was sent. Anything else: it may
                have been.
        """
        timeouts = request.extensions.get("timeout", {})
        try:
            await self._slots.enter(timeouts.get("pool"))
        except TimeoutError as error:
            raise httpx.PoolTimeout("no free connection", request=request) from error
        attempt = attempt_begins()
        try:
            response = await self._send(request, timeouts)
        except httpx.WriteTimeout:
            self._slots.leave()
            raise
        except _CAUGHT as error:
            self._slots.leave()
            if isinstance(error, _DROPPED) and attempt.met_a_dropped_connection:
                raise IdleConnectionDropped(type(error).__name__, request=request) from error
            raise _translated(error, request) from error
        except BaseException:  # whatever ends it, a cancellation included
            self._slots.leave()
            raise
        answer = httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response, self._slots),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (response.reason or "").encode()},
        )
        if isinstance(response, Response):
            response.forget_heads()
        return answer

    async def _send(self, request: httpx.Request, timeouts: dict[str, float | None]) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=timeouts.get("connect"), sock_read=timeouts.get("read"), connect=None
        )
        headers = CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"
        )
        writing = asyncio.timeout(None)
        try:
            async with writing:
                return await self._session(fresh=bool(request.extensions.get(FRESH))).request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    headers=headers,
                    data=_content(request, writing, timeouts.get("write")),
                    allow_redirects=False,
                    timeout=timeout,
                )
        except TimeoutError as error:
            if writing.expired():
                raise httpx.WriteTimeout("the body was not taken", request=request) from error
            raise

    def _session(self, *, fresh: bool) -> aiohttp.ClientSession:
        if fresh not in self._sessions:
            kept = {"force_close": True} if fresh else {"keepalive_timeout": KEEPALIVE_SECONDS}
            connector = Connector(limit=0, ttl_dns_cache=30, ssl=self._tls or True, **kept)
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                response_class=Response,
                trust_env=False,
                max_headers=MAX_HEADERS,
                max_field_size=MAX_HEADER_BYTES,
                max_line_size=MAX_HEADER_BYTES,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            )
            session._retry_connection = False  # there is no option: aiohttp repeats GET, PUT and DELETE by itself
            self._sessions[fresh] = session
        return self._sessions[fresh]

    async def aclose(self) -> None:
        """Close all connections."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()


def _content(
    request: httpx.Request, writing: asyncio.Timeout, seconds: float | None
) -> bytes | AsyncIterable[bytes] | None:
    """The body. One that does not fit into the connection's buffer goes out in pieces, each under the write timeout."""
    body = request.content
    return _pieces(body, writing, seconds) if len(body) > PIECE_BYTES else body or None


async def _pieces(body: bytes, writing: asyncio.Timeout, seconds: float | None) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    for at in range(0, len(body), PIECE_BYTES):
        writing.reschedule(None if seconds is None else clock() + seconds)
        yield body[at : at + PIECE_BYTES]
    writing.reschedule(None)
