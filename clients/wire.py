"""Sends HTTP requests to a service, and reads the responses."""

import io
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import httpx
import msgspec

from clients.calls import Answer, AnswerSize, Call, CallScope, RetryCause, UpstreamLimits, UpstreamObserver
from clients.encoding import EncodingUnreadable, TooLarge, decoded
from clients.errors import Service
from clients.http.errors import IdleConnectionDropped
from clients.http.heads import Heads, origin_of
from clients.http.messages import RawAnswer, RawHeaders, RawRequest, Sender, Timeouts

PLAIN = {"accept-encoding": "identity", "user-agent": "agentgraph", "accept": "*/*"}
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
    """An HTTP answer whose headers have arrived.

    ``body`` is read whole unless it is a stream of events. Closing ``wire`` closes the answer.
    """

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes] | bytes
    wire: RawAnswer


class Wire:
    """Sends HTTP requests to one service.

    ``headers`` are added to every call.
    """

    def __init__(
        self,
        service: Service,
        base_url: str,
        *,
        headers: Mapping[str, str],
        limits: UpstreamLimits,
        observer: UpstreamObserver,
        transport: Sender,
    ) -> None:
        self._service = service
        self._heads = Heads(base_url, {**PLAIN, **headers})
        self._origin = origin_of(self._heads.url)
        self._transport = transport
        self._timeouts = Timeouts(connect=limits.connect, write=limits.write)
        self._observer = observer
        self._max_bytes = limits.max_bytes

    def request(self, scope: CallScope, call: Call, deadline: float) -> RawRequest:
        """Write the HTTP request of a call. ``deadline`` is a value of ``time.monotonic()``, in seconds.

        Raises httpx.LocalProtocolError if a header or the path is not valid.
        """
        headers = {"x-request-id": scope.request_id, **call.headers}
        if scope.traceparent is not None:
            headers["traceparent"] = scope.traceparent
        body = call.content or b""
        if call.json is not None:
            body = msgspec.json.encode(call.json)
            headers["content-type"] = "application/json"
        return RawRequest(
            origin=self._origin,
            method=call.method,
            head=self._heads.head(call.method, call.path, call.params, headers, len(body)),
            body=body,
            timeouts=self._timeouts,
            deadline=deadline,
        )

    async def _send(self, scope: CallScope, call: Call, request: RawRequest) -> RawAnswer:
        """Send an HTTP request to the service.

        If the service has closed the idle connection, send a read again over a new connection (RFC 9112, 9.3.1).
        ``Retries`` does not count this repetition, because the closed connection is no failure of the service.
        """
        try:
            return await self._transport.send(request)
        except IdleConnectionDropped:
            if not call.is_read:
                raise
        self._observer.call_retried(self._service, call.operation, RetryCause.IDLE, 0.0, scope.request_id)
        return await self._transport.send(msgspec.structs.replace(request, fresh=True))

    async def whole(self, scope: CallScope, call: Call, request: RawRequest) -> Answer:
        """Make a call to the service, and read the complete answer.

        Raises httpx.TransportError, EncodingUnreadable or TooLarge, or TimeoutError at the deadline.
        """
        answer = await self._send(scope, call, request)
        try:
            headers = headers_of(answer.take_headers())
            body = await self._body(answer, headers, call.size)
        finally:
            await answer.aclose()
        return Answer(answer.status, headers, body)

    async def opened(self, scope: CallScope, call: Call, request: RawRequest) -> Opened:
        """Make a call whose answer is a stream of events. The caller must close the answer.

        The request's deadline applies until the stream has begun.
        """
        answer = await self._send(scope, call, request)
        try:
            headers = headers_of(answer.take_headers())
            body = await self._events_or_whole(answer, headers, call.size)
        except BaseException:  # a cancellation also closes the connection
            await answer.aclose()
            raise
        answer.deadline = math.inf
        return Opened(answer.status, headers, body, answer)

    async def _events_or_whole(
        self, answer: RawAnswer, headers: Mapping[str, str], size: AnswerSize
    ) -> AsyncIterator[bytes] | bytes:
        """Return a stream of events while it arrives, or read any other body completely.

        Some proxies relay a stream as ``text/plain`` or ``application/json``, so the body's first bytes also decide.
        """
        if answer.status != 200:
            return await self._body(answer, headers, size)
        chunks = decoded(aiter(answer), headers)
        media_type = headers.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
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

    async def _body(self, answer: RawAnswer, headers: Mapping[str, str], size: AnswerSize) -> bytes:
        """Read the body of an HTTP answer.

        If the body of a 4xx or 5xx cannot be read, the body is treated as empty. Raises httpx.TransportError,
        EncodingUnreadable, or TooLarge for more bytes or values than ``size`` allows.
        """
        if answer.status < 400:
            body = await _read(answer, headers, self._max_bytes // size.share)
            if len(body) > _COUNTED_BYTES:
                _check_count(body, size)
            return body
        deadline = answer.deadline
        answer.deadline = min(deadline, time.monotonic() + _REFUSAL_SECONDS)
        try:
            return await _read(answer, headers, min(MAX_REFUSAL_BYTES, self._max_bytes))
        except TimeoutError:
            if answer.deadline == deadline:
                raise
        except (httpx.TransportError, EncodingUnreadable):
            pass
        return b""

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


async def _read(answer: RawAnswer, headers: Mapping[str, str], limit: int) -> bytes:
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise TooLarge(limit)
    if "content-encoding" not in headers:
        return await answer.read(limit)
    body = io.BytesIO()  # getvalue() makes no copy
    async for chunk in decoded(aiter(answer), headers, limit=limit):
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


_LOWER: dict[bytes, str] = {}
"""The names of headers in lower case. Services send few names."""

_MAX_NAMES = 256


def headers_of(headers: RawHeaders) -> dict[str, str]:
    """Return an answer's headers.

    The names are in lower case, and repeated headers are joined. Values are decoded as Latin-1 (RFC 9110, 5.5), so that
    the bytes can be passed on unchanged.
    """
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = _LOWER.get(raw_name) or _lower(raw_name)
        value = raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _lower(raw_name: bytes) -> str:
    name = raw_name.decode("latin-1").lower()
    if len(_LOWER) < _MAX_NAMES:
        _LOWER[raw_name] = name
    return name
