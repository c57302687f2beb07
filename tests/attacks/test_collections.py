"""What open streams cost: full garbage collections, which stop everybody, and memory for each of them."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.embedded.seed import ADA, GRACE
from tests.support.attack import Cost, Target, attacked

STREAMS_PER_USER = 90
MAX_STREAM_BYTES = 60 * 1024
COMPLETION = """subscription($i: CompletionInput!, $k: ID!) {
  completion(input: $i, streamKey: $k) { __typename cursor ... on TextDelta { text } } }"""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


class Model(asyncio.Protocol):
    """An upstream whose answers never end. Those to come are told to all of them by ``say``."""

    answering: set[asyncio.WriteTransport] = set()

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
    def say(transport: asyncio.WriteTransport) -> None:
        transport.write(b"%x\r\n%b\r\n" % (len(TOKEN), TOKEN))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0, backlog=1024)
    settings = {
        "LITELLM_BASE_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "LITELLM_API_KEY": "sk-model",
        "RATE_LIMIT_GENERAL": "0",
        "RATE_LIMIT_LLM": "0",
    }
    async with server, attacked(tmp_path_factory.mktemp("collections"), **settings) as target:
        yield target
        for transport in list(Model.answering):
            transport.abort()


def asked(door: str, user_id: str, target: Target) -> bytes:
    """A request for a stream."""
    body: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    path = "/v1/chat/completions"
    if door == "graphql":
        asked = {"model": "m", "messages": [{"role": "USER", "content": "hi"}]}
        body, path = {"query": COMPLETION, "variables": {"i": asked, "k": str(uuid.uuid4())}}, "/graphql"
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {target.token(user_id)}\r\n"
        f"accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@asynccontextmanager
async def opened(target: Target, door: str, number: int) -> AsyncIterator[None]:
    """Streams of two users, each with its first token."""

    async def one(user_id: str) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(*target.address)
        writer.write(asked(door, user_id, target))
        await reader.readuntil(b"token ")
        return writer

    writers = []
    for _ in range(0, number, 2):
        writers += await asyncio.gather(one(ADA), one(GRACE))
    try:
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


async def gone(target: Target) -> None:
    """Wait until the gateway has closed every stream of the model's."""
    end = time.monotonic() + 20
    while Model.answering:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("door", ["v1", "graphql"])
async def test_open_streams_take_little_memory_and_no_full_collection(target: Target, door: str) -> None:
    async with opened(target, door, 20):
        pass
    await gone(target)
    async with target.measured() as cost, opened(target, door, 2 * STREAMS_PER_USER):
        for _ in range(20):
            for transport in Model.answering:
                Model.say(transport)
            await asyncio.sleep(0.05)
        rss = target._rss_bytes()
        cost.rss_bytes = rss
    print(door, "RSS", (cost.peak_rss_bytes) / 2 / STREAMS_PER_USER / 1024, cost.metric("agentgraph_gc_seconds_count"))
    await gone(target)
