"""One call on the wire: a request built from a call, sent in one attempt, its answer read and decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx
import msgspec

from clients.calls import Answer, Call, CallScope, UpstreamLimits, UpstreamObserver
from clients.encoding import MAX_DECODED_BYTES, EncodingUnreadable, decoded
from clients.errors import Service
from clients.transport import FRESH, IdleConnectionDropped

_PLAIN = {"accept-encoding": "identity", "user-agent": "agentgraph", "accept": "*/*"}
"""The transport does not decompress: ask for nothing compressed."""


class Wire:
    """Sends calls to one service. ``headers`` go with every call; ``base_url`` has no slash at its end."""

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
        self._timeout = httpx.Timeout(None, connect=limits.connect, write=limits.write, pool=limits.queue)
        self._observer = observer

    async def send(self, scope: CallScope, call: Call) -> httpx.Response:
        """One attempt. A read that met a dropped idle connection is sent once more, over a new one."""
        try:
            return await self._transport.handle_async_request(self._build(scope, call))
        except IdleConnectionDropped:
            if call.method != "GET":
                raise
        self._observer.call_repeated(self._service, call.operation, scope.request_id)
        request = self._build(scope, call)
        request.extensions[FRESH] = True
        return await self._transport.handle_async_request(request)

    async def whole(self, scope: CallScope, call: Call) -> Answer:
        """One call, its whole answer. Raises httpx.TransportError, EncodingUnreadable."""
        response = await self.send(scope, call)
        try:
            body = await self.body(response)
        finally:
            await response.aclose()
        return Answer(response.status_code, headers_of(response), body)

    async def body(self, response: httpx.Response, limit: int | None = None) -> bytes:
        """The whole body, or its first ``limit`` bytes and a little more. Raises EncodingUnreadable."""
        body = bytearray()
        try:
            chunks = aiter(response.stream)  # type: ignore[arg-type]
            async for chunk in decoded(chunks, headers_of(response), limit=MAX_DECODED_BYTES):
                body += chunk
                if limit is not None and len(body) > limit:
                    break
        except EncodingUnreadable:
            if response.status_code < 400:
                raise
            return b""  # the status tells enough
        return bytes(body)

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
        """Close the client and its transport."""
        await self._client.aclose()


def decoded_stream(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes, its encoding undone. Raises EncodingUnreadable."""
    return decoded(aiter(response.stream), headers_of(response))  # type: ignore[arg-type]


def headers_of(response: httpx.Response) -> dict[str, str]:
    """The headers of an answer, names in lower case, repeated ones joined.

    Values are Latin-1, as HTTP's are (RFC 9110, 5.5), so that they can be sent on byte by byte.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
