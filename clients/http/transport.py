"""Sends HTTP requests over keep-alive connections.

The transport supports no cookies, redirects, decompression, proxies or retries. ``Bulkhead`` limits concurrent calls.
"""

import ssl
from collections.abc import AsyncIterator

import httpx

from clients.http.answer import ReceivedAnswer
from clients.http.dialing import Dialer
from clients.http.heads import header_line, origin_of, request_line
from clients.http.messages import Origin, RawRequest, Timeouts
from clients.http.pool import Pool
from clients.http.tls import default_context

FRESH = "agentgraph.fresh_connection"
"""The name of the httpx request extension that requests a new connection."""


class HttpTransport(httpx.AsyncBaseTransport):
    """Sends HTTP requests over keep-alive connections.

    Args:
        tls: replaces the default TLS context, which trusts the system's authorities.
        limit: the maximum number of connections to an origin, or ``None``.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, limit: int | None = None) -> None:
        self._tls = tls
        self._limit = limit
        self._pools: dict[Origin, Pool] = {}
        self._is_closed = False

    @property
    def in_use(self) -> int:
        """The number of connections that are carrying a request or are being opened."""
        return sum(pool.in_use for pool in self._pools.values())

    async def send(self, request: RawRequest) -> ReceivedAnswer:
        """Send one request once, and return the answer when the answer's head has arrived.

        Raises IdleConnectionDropped or another httpx.TransportError, or TimeoutError at the request's deadline.
        httpx.ConnectError, httpx.ConnectTimeout and httpx.PoolTimeout mean that no byte was sent.
        """
        pool = self._pools.get(request.origin) or self._open(request.origin)
        connection = None if request.fresh else pool.take()
        if connection is None:
            connection = await pool.acquire(request)
        answer = connection.begin(request)
        if not answer.has_ended:
            try:
                await answer.event()
            except BaseException:  # a cancellation also closes the connection
                answer.abandon()
                raise
        if not answer.status:
            answer.raise_failure()
        return answer

    def _open(self, origin: Origin) -> Pool:
        if self._is_closed:
            raise httpx.ConnectError("The client was closed.")
        pool = self._pools[origin] = Pool(Dialer(origin, self._context(origin)), self._limit)
        return pool

    def _context(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.scheme != "https":
            return None
        context = self._tls or default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one httpx request. Reads the request's body into memory. Raises httpx.TransportError."""
        try:
            answer = await self.send(_raw(request, await request.aread()))
        except httpx.TransportError as error:
            error.request = request
            raise
        except TimeoutError as error:
            raise httpx.ReadTimeout(str(error), request=request) from error
        headers = answer.take_headers()
        extensions = {"http_version": b"HTTP/1.1"}
        return httpx.Response(
            answer.status, headers=headers, stream=_Stream(answer), request=request, extensions=extensions
        )

    async def aclose(self) -> None:
        """Close all connections. Later requests raise httpx.ConnectError."""
        self._is_closed = True
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: ReceivedAnswer) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer:
            yield chunk

    async def aclose(self) -> None:
        await self._answer.aclose()


def _raw(request: httpx.Request, body: bytes) -> RawRequest:
    timeouts = request.extensions.get("timeout", {})
    lines = [request_line(request.method, request.url.raw_path)]
    lines += [header_line(name, value) for name, value in request.headers.raw if name.lower() not in _FRAMING]
    if body or any(name.lower() in _FRAMING for name, _ in request.headers.raw):
        lines.append(b"content-length: %d\r\n" % len(body))
    return RawRequest(
        origin=origin_of(request.url),
        method=request.method,
        head=b"".join(lines),
        body=body,
        timeouts=Timeouts(**{name: timeouts.get(name) for name in Timeouts._fields}),
        fresh=bool(request.extensions.get(FRESH)),
    )


_FRAMING = {b"content-length", b"transfer-encoding"}
