"""The processes of the scenario ``paced``: a model that writes the time into its tokens, a plain relay, and readers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import sys
import time
import uuid
from typing import Any

OPENED_AT_ONCE = 100
SETTLE_SECONDS = 3.0
"""The time between the opening of the last stream and the measurement."""

SUBSCRIPTION = (
    "subscription($i: CompletionInput!, $k: ID!) { completion(input: $i, streamKey: $k) "
    "{ __typename cursor ... on TextDelta { text } ... on StreamEnded { outcome } } }"
)
PARTS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class Upstream(asyncio.Protocol):
    """Answers each POST with an endless stream. The model ``rR`` sends R tokens a second."""

    def __init__(self) -> None:
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        if not end or len(rest) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        if not head.startswith(b"POST"):
            self._transport.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}')
            return
        rate = re.search(rb'"model" *: *"r([0-9.]+)"', rest)
        self._pause = 1 / float(rate[1]) if rate else 1.0
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self._loop = asyncio.get_running_loop()
        if self._pause > 1:
            self._send()  # the readers wait for a first token
        self._due = self._loop.time() + self._pause * random.random()
        self._timer = self._loop.call_at(self._due, self._token)

    def _token(self) -> None:
        self._send()
        self._due += self._pause
        self._timer = self._loop.call_at(self._due, self._token)

    def _send(self) -> None:
        event = (
            b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
            b'"delta":{"content":"<%d>"},"finish_reason":null}]}\n\n' % time.monotonic_ns()
        )
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))


async def serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


def relay(upstream: str) -> Any:
    """Return an ASGI application that only forwards requests and answers."""
    import httpx  # noqa: PLC0415 - only the relay's process needs it

    from clients.http.transport import HttpTransport  # noqa: PLC0415

    transport = HttpTransport()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {"content-type": "application/json"}
        answer = await transport.handle_async_request(httpx.Request("POST", upstream, headers=headers, content=body))
        leaving = asyncio.ensure_future(_left(receive, answer))
        kind = answer.headers["content-type"].encode()
        await send({"type": "http.response.start", "status": answer.status_code, "headers": [(b"content-type", kind)]})
        with contextlib.suppress(httpx.TransportError):
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        leaving.cancel()
        await send({"type": "http.response.body", "body": b""})

    return app


async def _left(receive: Any, answer: Any) -> None:
    await receive()
    await answer.stream.aclose()


_TOKEN = re.compile(rb"<(\d{9,20})>")


class Reader(asyncio.Protocol):
    """Opens one stream at one endpoint and records the delay of each token."""

    def __init__(self, request: bytes, then: dict[bytes, bytes], late: list[int], opened: asyncio.Future[None]) -> None:
        self._request, self._then = request, dict(then)
        self._late, self._opened = late, opened
        self._rest = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        transport.write(self._request)  # type: ignore[attr-defined]

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(self._rest[-500:].decode("utf-8", "replace")))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        if found := _TOKEN.findall(data):
            self._rest = data[data.rindex(b">") + 1 :]
            self._late.extend(now - int(sent) for sent in found)
            if not self._opened.done():
                self._opened.set_result(None)
            return
        self._rest = data
        for sign, frame in list(self._then.items()):
            if sign in data:
                self.transport.write(_frame(1, frame))
                del self._then[sign]
        if b"\x89\x04" in data[-8:]:
            self.transport.write(_frame(10, data[-4:]))


def _frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame, masked with zeros (RFC 6455, 5.2)."""
    size = bytes([128 | len(payload)]) if len(payload) < 126 else bytes([254]) + len(payload).to_bytes(2, "big")
    return bytes([128 | opcode]) + size + bytes(4) + payload


def _post(port: int, path: str, token: str, body: bytes, accept: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\naccept: {accept}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def _opening(endpoint: str, port: int, token: str, rate: float) -> tuple[bytes, dict[bytes, bytes]]:
    """Return a reader's request, and the frames to send after certain bytes, such as ``connection_ack``, arrive."""
    chat = {"model": f"r{rate:g}", "messages": [{"role": "user", "content": "hello " * 20}]}
    if endpoint in {"relay", "v1"}:
        body = json.dumps({**chat, "stream": True}).encode()
        return _post(port, "/v1/chat/completions", token, body, "text/event-stream"), {}
    asked = {"model": chat["model"], "messages": [{"role": "USER", "content": "hello " * 20}]}
    payload = {"query": SUBSCRIPTION, "variables": {"i": asked, "k": str(uuid.uuid4())}}
    if endpoint == "sse":
        return _post(port, "/graphql", token, json.dumps(payload).encode(), "text/event-stream"), {}
    init = json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}).encode()
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = (
        f"GET /graphql HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n"
    ).encode()
    subscribe = json.dumps({"id": "1", "type": "subscribe", "payload": payload}).encode()
    return upgrade, {b"HTTP/1.1 101": init, b"connection_ack": subscribe}


async def read(endpoint: str, port: int, rate: float, seconds: float, tokens: list[str]) -> None:
    """Keep ``len(tokens)`` streams open, measure the delays, and print the results as a line of JSON."""
    loop = asyncio.get_running_loop()
    late: list[int] = []
    readers: list[Reader] = []
    for first in range(0, len(tokens), OPENED_AT_ONCE):
        openings = []
        for token in tokens[first : first + OPENED_AT_ONCE]:
            opened: asyncio.Future[None] = loop.create_future()
            reader = Reader(*_opening(endpoint, port, token, rate), late, opened)
            await loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port)  # type: ignore[misc]
            readers.append(reader)
            openings.append(opened)
        await asyncio.wait_for(asyncio.gather(*openings), 60)
    await asyncio.sleep(SETTLE_SECONDS)
    print(json.dumps({"open": len(readers)}), flush=True)
    late.clear()
    await asyncio.sleep(seconds)
    found = sorted(late) or [0]
    lost = sum(reader.lost for reader in readers)
    at = {name: found[min(len(found) - 1, int(len(found) * part))] / 1e6 for name, part in PARTS.items()}
    print(json.dumps({**at, "tokens": len(found), "seconds": seconds, "lost": lost}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    for reader in readers:
        reader.transport.abort()
