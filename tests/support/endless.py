"""A model whose answers do not end, and requests for them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from tests.support.attack import Target, attacked
from tests.support.documents import COMPLETION_TEXT

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'


class Model(asyncio.Protocol):
    """A LiteLLM whose answers do not end. ``say`` sends a token in one of those in ``answering``."""

    answering: ClassVar[set[asyncio.WriteTransport]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.answering.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST"):
            self.transport.write(HEAD)
            self.answering.add(self.transport)
            self.say(self.transport)
        elif data.startswith(b"GET"):
            self.transport.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}')

    @staticmethod
    def say(transport: asyncio.WriteTransport, more: bytes = b"") -> None:
        token = TOKEN.replace(b"token ", b"token " + more)
        transport.write(b"%x\r\n%b\r\n" % (len(token), token))


def asked(door: str, user_id: str, target: Target) -> bytes:
    """Return the bytes of a request for a stream."""
    body: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    path = "/v1/chat/completions"
    if door == "graphql":
        asked = {"model": "m", "messages": [{"role": "USER", "content": "hi"}]}
        body, path = {"query": COMPLETION_TEXT, "variables": {"i": asked, "k": str(uuid.uuid4())}}, "/graphql"
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {target.token(user_id)}\r\n"
        f"accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def gone(target: Target) -> None:
    """Wait until the gateway has closed all the model's streams."""
    async with asyncio.timeout(20):
        while Model.answering:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def endless_model(folder: Path, **settings: str) -> AsyncIterator[Target]:
    """Run a gateway whose LiteLLM is ``Model``, without rate limits."""
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0, backlog=1024)
    settings = {
        "LITELLM_BASE_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "LITELLM_API_KEY": "sk-model",
        "STREAM_COALESCE_MILLISECONDS": "0",
        "RATE_LIMIT_GENERAL": "0",
        "RATE_LIMIT_LLM": "0",
        **settings,
    }
    async with server, attacked(folder, **settings) as target:
        yield target
        for transport in list(Model.answering):
            transport.abort()
