"""Sends HTTP requests to a service, and reads the responses."""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, cast

import httpx
import msgspec

from clients.calls import Answer, AnswerSize, Call, CallScope, RetryCause, UpstreamLimits, UpstreamObserver
from clients.encoding import EncodingUnreadable, TooLarge, decoded
from clients.errors import Service
from clients.transport import FRESH, IdleConnectionDropped

_PLAIN = {"accept-encoding": "identity", "user-agent": "agentgraph", "accept": "*/*"}
"""The headers of every request to a service.

``identity`` requests no compression, since the transport does not decompress.
"""

_REFUSAL_SECONDS, MAX_REFUSAL_BYTES = 5.0, 1024 * 1024
"""The maximum time to read an error response's body, and the body's maximum size.

The time is in seconds, and the size is in bytes.
"""

_NO_STREAM_BYTES = 1024 * 1024
"""The maximum size, in bytes, of an answer that should be a stream, but is not."""

_COUNTED_BYTES = 64 * 1024
"""The maximum size, in bytes, of an answer whose values are not counted before decoding."""

_STARTS_EVENT = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:data|event|id|retry)?:")
_LONGEST_START = 64


class Opened(NamedTuple):
    """An HTTP response whose headers have arrived.

    Unlike ``httpx.Response``, ``Opened`` does not keep the request in memory. ``body`` is read whole unless it is a
    stream of events. Closing ``wire`` closes the answer.
    """

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes] | bytes
    wire: httpx.AsyncByteStream


class Wire:
    """Sends HTTP requests to one service.

    ``headers`` are added to every call. ``base_url`` must not end with a slash.
    """

    def __init__(
        self,
        service: Service,
        base_url: str,
        *,
        headers: Mapping[str, str],
        limits: UpstreamLimits,
        observer: UpstreamObserver,
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self._service = service
        self._client = httpx.AsyncClient(base_url=base_url, headers={**_PLAIN, **headers}, transport=transport)
        self._transport = transport
        self._timeout = httpx.Timeout(None, connect=limits.connect, write=limits.write)
        self._observer = observer
        self._max_bytes = limits.max_bytes

    async def send(self, scope: CallScope, call: Call) -> httpx.Response:
        """Send an HTTP request to the service.

        If the service has closed the idle connection, send a read again over a new connection (RFC 9112, 9.3.1).
        ``Retries`` does not count this repetition, because the closed connection is no failure of the service.
        """
        try:
            return await self._transport.handle_async_request(self._build(scope, call))
        except IdleConnectionDropped:
            if not call.is_read:
                raise
        self._observer.call_retried(self._service, call.operation, RetryCause.IDLE, 0.0, scope.request_id)
        request = self._build(scope, call)
        request.extensions[FRESH] = True
        return await self._transport.handle_async_request(request)

    async def whole(self, scope: CallScope, call: Call) -> Answer:
        """Make a call to the service, and read the complete answer.

        Raises httpx.TransportError, EncodingUnreadable or TooLarge.
        """
        response = await self.send(scope, call)
        try:
            body = await self.body(response, call.size)
        finally:
            await response.aclose()
        return Answer(response.status_code, headers_of(response), body)

    async def opened(self, scope: CallScope, call: Call) -> Opened:
        """Make a call whose answer is a stream of events. The caller must close the answer."""
        response = await self.send(scope, call)
        try:
            body = await self._events_or_whole(response, call.size)
            return Opened(
                response.status_code, headers_of(response), body, cast("httpx.AsyncByteStream", response.stream)
            )
        except BaseException:  # a cancellation also closes the connection
            await response.aclose()
            raise

    async def _events_or_whole(self, response: httpx.Response, size: AnswerSize) -> AsyncIterator[bytes] | bytes:
        """Return a stream of events while it arrives, or read any other body completely.

        Some proxies relay a stream as ``text/plain`` or ``application/json``, so the body's first bytes also decide.
        """
        if response.status_code != 200:
            return await self.body(response, size)
        chunks = decoded_stream(response)
        media_type = response.headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
        if media_type == "text/event-stream":
            return chunks
        body = bytearray()
        async for chunk in chunks:
            is_start = len(body) < _LONGEST_START
            body += chunk
            if is_start and _STARTS_EVENT.match(body):
                return _following(bytes(body), chunks)
            if len(body) > _NO_STREAM_BYTES:
                raise TooLarge(_NO_STREAM_BYTES)
        return bytes(body)

    async def body(self, response: httpx.Response, size: AnswerSize) -> bytes:
        """Read the body of an HTTP response.

        If the body of a 4xx or 5xx cannot be read, the body is treated as empty. Raises httpx.TransportError,
        EncodingUnreadable, or TooLarge for more bytes or values than ``size`` allows.
        """
        if response.status_code < 400:
            body = await _read(response, limit=self._max_bytes // size.share)
            if len(body) > _COUNTED_BYTES:
                _check_count(body, size)
            return body
        try:
            async with asyncio.timeout(_REFUSAL_SECONDS):
                return await _read(response, limit=min(MAX_REFUSAL_BYTES, self._max_bytes))
        except (httpx.TransportError, EncodingUnreadable, TimeoutError):
            return b""

    def _build(self, scope: CallScope, call: Call) -> httpx.Request:
        sent = {"x-request-id": scope.request_id, **call.headers}
        if scope.traceparent is not None:
            sent["traceparent"] = scope.traceparent
        content = call.content
        if call.json is not None:
            content = msgspec.json.encode(call.json)
            sent["content-type"] = "application/json"
        query = httpx.QueryParams(list(call.params)) if call.params else None
        return self._client.build_request(
            call.method, call.path, params=query, content=content, headers=sent, timeout=self._timeout
        )

    async def aclose(self) -> None:
        """Close the HTTP client and the transport."""
        await self._client.aclose()


async def _read(response: httpx.Response, *, limit: int) -> bytes:
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TooLarge(limit)
    body = io.BytesIO()  # getvalue() makes no copy
    async for chunk in decoded_stream(response, limit=limit):
        if body.tell() + len(chunk) > limit:
            raise TooLarge(limit)
        body.write(chunk)
    return body.getvalue()


def _check_count(body: bytes, size: AnswerSize) -> None:
    if body.count(b"{") > size.objects:
        raise TooLarge(size.objects, "objects")
    if size.values is not None and body.count(b",") > size.values:
        raise TooLarge(size.values, "values")


async def _following(start: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in chunks:
        yield chunk


def decoded_stream(response: httpx.Response, *, limit: int | None = None) -> AsyncIterator[bytes]:
    """Decompress a response's body while the body arrives. Raises EncodingUnreadable."""
    return decoded(aiter(response.stream), headers_of(response), limit=limit)  # type: ignore[arg-type]


def headers_of(response: httpx.Response) -> dict[str, str]:
    """Return a response's headers.

    The names are in lower case, and repeated headers are joined. Values are decoded as Latin-1 (RFC 9110, 5.5), so that
    the bytes can be passed on unchanged.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
