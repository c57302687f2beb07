"""A transport for httpx that sends requests with aiohttp.

httpx's own pool does not free the slots of cancelled requests, and sends a twentieth of the requests per CPU-second.
The transport has no cookies, redirects, decompression, proxies, retries or bound on requests (``Bulkhead`` has it).
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

from clients.connections import Connector, Response, begin_attempt

KEEPALIVE_SECONDS = 4.0
"""Shorter than the idle timeout of any service (uvicorn's is 5), so that no request is sent over a connection that the
service is closing."""

MAX_HEADERS, MAX_HEADER_BYTES = 128, 8190
"""The most headers of an answer, and the most bytes of one."""

PIECE_BYTES = 64 * 1024
"""A body is written in pieces of this size, about the size of a connection's buffer."""

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
"""The first match counts, so the most specific come first. A connection that is dropped after the request was sent is
never a connect error, since the request must not look safe to repeat."""

_CAUGHT = (ce.ClientError, asyncio.TimeoutError, ConnectionError)
_DROPPED = (ce.ServerDisconnectedError, ce.ClientOSError, ConnectionError)

FRESH = "agentgraph.fresh_connection"
"""The request extension that sends a request over a new connection, never over one that was kept alive."""


class IdleConnectionDropped(httpx.RemoteProtocolError):
    """The service closed a kept-alive connection before any byte of the answer came."""


def _translated(error: BaseException, request: httpx.Request | None = None) -> httpx.TransportError:
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(type(error).__name__, request=request)
    return httpx.ReadError(type(error).__name__, request=request)


class _Body(httpx.AsyncByteStream):
    """A response's bytes as they come. If it is closed before its end, its connection is closed too."""

    __slots__ = ("_response",)

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

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


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests to any host. ``tls`` replaces the default trust.

    It has two sessions, one that keeps connections alive and one that does not. Each is made in the event loop that
    first uses it.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    @property
    def in_use(self) -> int:
        """The number of connections that carry a request."""
        connectors = (session.connector for session in self._sessions.values())
        return sum(connector.in_use for connector in connectors if isinstance(connector, Connector))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, whose body is in memory.

        Raises:
            IdleConnectionDropped: the kept-alive connection that it was sent over was closed before an answer began.
            httpx.TransportError: nothing was sent if it is ConnectTimeout or ConnectError; else it may have been.
        """
        timeouts = request.extensions.get("timeout", {})
        attempt = begin_attempt()
        try:
            response = await self._send(request, timeouts)
        except _CAUGHT as error:
            if isinstance(error, _DROPPED) and attempt.met_a_dropped_connection:
                raise IdleConnectionDropped(type(error).__name__, request=request) from error
            raise _translated(error, request) from error
        answer = httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=_Body(response),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (response.reason or "").encode()},
        )
        if isinstance(response, Response):
            response.drop_headers()
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
                raise httpx.WriteTimeout("the body was not written in time", request=request) from error
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
            # There is no option: aiohttp repeats GET, PUT and DELETE by itself.
            session._retry_connection = False  # noqa: SLF001
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
    """The body. If it is larger than the connection's buffer, it is sent in pieces, each within the write timeout."""
    body = request.content
    return _pieces(body, writing, seconds) if len(body) > PIECE_BYTES else body or None


async def _pieces(body: bytes, writing: asyncio.Timeout, seconds: float | None) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    for at in range(0, len(body), PIECE_BYTES):
        writing.reschedule(None if seconds is None else clock() + seconds)
        yield body[at : at + PIECE_BYTES]
    writing.reschedule(None)
