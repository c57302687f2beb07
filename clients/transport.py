"""A transport for httpx that sends requests with aiohttp.

httpx's own connection pool does not free the slots of cancelled requests, and needs twenty times the CPU time. This
transport has no cookies, redirects, decompression, proxies or retries. ``Bulkhead`` limits the concurrent requests.
"""

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
"""The seconds for which the gateway keeps an idle connection.

Services, such as uvicorn, close idle connections only later.
"""

MAX_HEADERS, MAX_HEADER_BYTES = 128, 8190
"""The maximum number of headers in a response, and a header's maximum size in bytes."""

PIECE_BYTES = 64 * 1024
"""The size of the pieces in which a request body is written, in bytes.

The size is similar to the size of a connection's buffer.
"""

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
"""Maps aiohttp errors to httpx errors. The first match applies.

Callers may repeat a request after a ConnectError, so an error after the request was sent has another type.
"""

_CAUGHT = (ce.ClientError, asyncio.TimeoutError, ConnectionError)
_DROPPED = (ce.ServerDisconnectedError, ce.ClientOSError, ConnectionError)

FRESH = "agentgraph.fresh_connection"
"""The name of the httpx request extension that requests a new connection."""


class IdleConnectionDropped(httpx.RemoteProtocolError):
    """The service closed an idle connection before the service answered."""


def _translated(error: BaseException, request: httpx.Request | None = None) -> httpx.TransportError:
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(type(error).__name__, request=request)
    return httpx.ReadError(type(error).__name__, request=request)


class _Body(httpx.AsyncByteStream):
    """A response's body, read with backpressure. Closing the body before its end also closes the connection."""

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
    """An httpx transport that sends requests with aiohttp.

    ``tls`` replaces the default TLS context. One of the transport's two sessions keeps connections alive. Each session
    is created in the event loop that first uses it.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    @property
    def in_use(self) -> int:
        """The number of connections that are carrying a request."""
        connectors = (session.connector for session in self._sessions.values())
        return sum(connector.in_use for connector in connectors if isinstance(connector, Connector))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one HTTP request. The request's body is in memory.

        Raises IdleConnectionDropped or another httpx.TransportError.
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
            # aiohttp repeats GET, PUT and DELETE requests, and has no option to prevent this
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
    body = request.content
    return _pieces(body, writing, seconds) if len(body) > PIECE_BYTES else body or None


async def _pieces(body: bytes, writing: asyncio.Timeout, seconds: float | None) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    for at in range(0, len(body), PIECE_BYTES):
        writing.reschedule(None if seconds is None else clock() + seconds)
        yield body[at : at + PIECE_BYTES]
    writing.reschedule(None)
