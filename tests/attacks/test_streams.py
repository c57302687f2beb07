"""The cost of one user's streams and idempotency keys, and their effect on other users."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio

from app.embedded.people import ADA, GRACE
from tests.support.attack import Target, attacked
from tests.support.doors import event_stream
from tests.support.oddserver import Scripted, odd_server
from tests.support.rawhttp import raw

MB = 1024 * 1024
DIMENSIONS, INPUTS = 4096, 100
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

STREAM = """subscription($id: ID!, $after: String) { stream(id: $id, after: $after) {
  cursor __typename ... on TextDelta { text } ... on StreamEnded { outcome error { code reason } } } }"""
COMPLETION = """subscription($i: CompletionInput!, $k: ID!) { completion(input: $i, streamKey: $k) {
  cursor __typename ... on StreamStarted { stream { id } } ... on TextDelta { text } } }"""
START = """mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"""
STANDING = "query($id: ID!) { stream(id: $id) { status lastCursor } }"
_VECTORS = orjson.dumps(
    {
        "model": "m",
        "data": [{"index": index, "embedding": [0.5] * DIMENSIONS} for index in range(INPUTS)],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
)


def model(_method: str, path: str, body: bytes) -> Scripted:
    """Return a LiteLLM that sends ``count`` pieces of ``size`` characters, with an optional delay between them."""
    if path.endswith("/embeddings"):
        return Scripted(pieces=[_VECTORS])
    asked = re.search(rb"\[\[(.*?)\]\]", body)
    numbers = dict(pair.split("=") for pair in (asked[1].decode() if asked else "tokens=1").split())
    count, size = int(numbers.get("tokens", 1)), int(numbers.get("size", 4))
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * size)
    return Scripted(
        headers={"content-type": "text/event-stream"},
        pieces=_pieces(piece, count, float(numbers.get("delay", 0))),
    )


def _pieces(piece: bytes, count: int, delay: float) -> Iterator[bytes | float]:
    for number in range(count):
        yield piece
        if delay or number % 100 == 0:
            yield delay
    yield b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with (
        odd_server(model) as url,
        attacked(
            tmp_path_factory.mktemp("gateway"),
            LITELLM_BASE_URL=url,
            LITELLM_API_KEY="sk-" + "0" * 20,
            RATE_LIMIT_LLM="0",
            RATE_LIMIT_GENERAL="0",
        ) as running,
    ):
        yield running


def say(directive: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"[[{directive}]]"}]


async def ended(client: httpx.AsyncClient, directive: str) -> str:
    """Read a completion to its end at ``/v1``. Return its stream id."""
    body = {"model": "m", "stream": True, "messages": say(directive)}
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        async for _ in response.aiter_raw():
            pass
    return response.headers["x-stream-id"]


async def asked(client: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    answer = (await client.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


async def heard(client: httpx.AsyncClient, stream_id: str, after: str | None = None) -> list[dict[str, Any]]:
    body = {"query": STREAM, "variables": {"id": stream_id, "after": after}}
    async with client.stream(
        "POST", "/graphql", json=body, headers={"accept": "text/event-stream"}, timeout=60
    ) as response:
        return [payload["data"]["stream"] async for payload in event_stream(response)]


def text_in(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("text", "") for event in events)


async def unread(target: Target, stack: AsyncExitStack, query: str, **variables: Any) -> asyncio.StreamReader:
    """Start a subscription over server-sent events, and do not read its events."""
    connection = await stack.enter_async_context(raw(target.address, receive_buffer=4096))
    body = orjson.dumps({"query": query, "variables": variables})
    head = "POST /graphql HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-type: application/json\r\n"
    head += f"authorization: {target.headers()['authorization']}\r\ncontent-length: {len(body)}\r\n\r\n"
    await connection.send(head.encode() + body)
    assert b" 200 " in await connection.reader.readline()
    return connection.reader


async def test_readers_that_read_nothing_take_little_memory(target: Target) -> None:
    async with target.bystander(), target.client() as client, AsyncExitStack() as stack:
        stream_id = await ended(client, "tokens=1000 size=6000")
        async with target.measured() as cost:
            for _ in range(12):
                await unread(target, stack, STREAM, id=stream_id)
            for _ in range(10):
                await asked(client, "{ viewer { id } }")
        assert cost.peak_rss_bytes < 40 * MB
        assert len(text_in(await heard(client, stream_id))) == 6_000_000


async def test_a_source_is_paused_for_a_slow_reader(target: Target) -> None:
    async with target.bystander(), target.client() as client, AsyncExitStack() as stack:
        given = {"model": "m", "messages": [{"role": "USER", "content": "[[tokens=1000 size=15000]]"}]}
        reader = await unread(target, stack, COMPLETION, i=given, k=str(uuid.uuid4()))
        first = await reader.readuntil(b"stream:")
        stream_id = (first[-7:] + await reader.readuntil(b'"'))[:-1].decode()
        before, standing = None, {"lastCursor": ""}
        while before != standing["lastCursor"]:
            before = standing["lastCursor"]
            for _ in range(20):
                standing = (await asked(client, STANDING, id=stream_id))["stream"]
        assert standing["status"] == "RUNNING"
        reading = asyncio.create_task(drained(reader))
        events = await heard(client, stream_id)
        reading.cancel()
        assert events[-1]["__typename"] == "StreamEnded", events[-1]
        assert len(text_in(events)) == 15_000_000


async def drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def test_repeated_reading_of_a_long_stream_costs_little(target: Target) -> None:
    async with target.client() as client:
        stream_id = await ended(client, "tokens=20000")
        whole = text_in(await heard(client, stream_id))
        assert whole == "xxxx" * 20_000
        async with target.bystander(), target.measured() as cost:
            for _ in range(30):
                assert text_in(await heard(client, stream_id)) == whole
        assert cost.cpu_seconds < 1.0


async def test_stored_answers_of_one_user_do_not_evict_those_of_another(target: Target) -> None:
    create = "mutation($i: CreateConversationInput!) { createConversation(input: $i) { conversation { id } } }"
    embed = "mutation($i: EmbedInput!) { embed(input: $i) { usage { totalTokens } } }"
    async with target.bystander(), target.client(ADA) as ada, target.client(GRACE) as grace:
        agents = (await asked(ada, "{ viewer { agents { nodes { id } } } }"))["viewer"]["agents"]["nodes"]
        given = {"agentId": agents[0]["id"], "idempotencyKey": str(uuid.uuid4())}
        made = await asked(ada, create, i=given)
        for _ in range(6):
            many = {"model": "m", "inputs": ["x"] * INPUTS, "dimensions": DIMENSIONS}
            await asked(grace, embed, i={**many, "idempotencyKey": str(uuid.uuid4())})
        assert await asked(ada, create, i=given) == made


async def test_running_streams_of_one_user_are_bounded_by_their_share(target: Target) -> None:
    async with target.client(ADA) as ada, target.client(GRACE) as grace:
        kept = await ended(grace, "tokens=100 size=1000")
        async with target.bystander(), target.measured() as cost:
            for _ in range(18):
                given = {"model": "m", "messages": [{"role": "USER", "content": "[[tokens=999 size=15000]]"}]}
                given |= {"idempotencyKey": str(uuid.uuid4()), "onDisconnect": "CONTINUE"}
                answer = (await ada.post("/graphql", json={"query": START, "variables": {"i": given}})).json()
                assert "errors" not in answer, answer
        assert cost.peak_rss_bytes < 75 * MB
        assert 0 < cost.metric("agentgraph_stream_memory_bytes") <= 64 * MB
        assert len(text_in(await heard(grace, kept))) == 100_000
