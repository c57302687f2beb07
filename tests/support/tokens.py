"""A model that streams the tokens a test chooses, and one client that reads them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.documents import COMPLETION_TEXT
from tests.support.stack import Stack, opened_socket


class Model(asyncio.Protocol):
    """A LiteLLM that streams the texts given to ``say``. ``answering`` is set when a request has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST /utils/token_counter"):
            self.transport.write(b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"total_tokens":1}')
        elif data.startswith(b"POST"):
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.transport.write(head)
            self.answering.set_result(self)
        elif data.startswith(b"GET"):
            self.transport.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}')

    def say(self, text: str) -> None:
        self._send({"index": 0, "delta": {"content": text}})

    def finish(self) -> None:
        """Complete the answer."""
        self._send({"index": 0, "delta": {}, "finish_reason": "stop"})
        self._write(b"data: [DONE]\n\n")
        self.transport.write(b"0\r\n\r\n")

    def _send(self, choice: dict[str, Any]) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
        self._write(f"data: {json.dumps(chunk)}\n\n".encode())

    def _write(self, event: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(event), event))

    answering: asyncio.Future[Model]


def asked(door: str) -> tuple[str, str, dict[str, Any]]:
    """Return the path, ``Accept`` and body of a request for a stream."""
    if door == "v1":
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        return "/v1/chat/completions", "text/event-stream", body
    asked = {"model": "m", "messages": [{"role": "USER", "content": "hi"}]}
    accept = "text/event-stream" if door == "sse" else 'multipart/mixed;subscriptionSpec="1.0"'
    return "/graphql", accept, {"query": COMPLETION_TEXT, "variables": {"i": asked, "k": str(uuid.uuid4())}}


Hear = Callable[[bytes], Awaitable[object]]


@asynccontextmanager
async def reading(stack: Stack, door: str) -> AsyncIterator[Hear]:
    """Open a stream; yields a function that reads until a text."""
    if door == "ws":
        async with opened_socket(stack) as socket:
            await socket.subscribe(COMPLETION_TEXT, asked(door)[2]["variables"])

            async def hear(text: bytes) -> None:
                while text not in (await socket.socket.recv(decode=False)):
                    pass

            yield hear
        return
    path, accept, body = asked(door)
    content = json.dumps(body).encode()
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {stack.token()}\r\naccept: {accept}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    writer.write(head.encode() + content)
    try:
        yield reader.readuntil
    finally:
        writer.transport.abort()
