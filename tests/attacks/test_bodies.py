"""JSON request bodies that are small as text and large in memory."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.json_text import MAX_CONTAINERS
from tests.support.attack import Target
from tests.support.rawhttp import Raw, raw

SETTINGS = {"RATE_LIMIT_GENERAL": "0", "STREAM_HEARTBEAT_SECONDS": "1"}
REQUESTS = 30
FAT = b"[" + b",".join([b'{"":0}'] * (MAX_CONTAINERS - 100)) + b"]"
"""It takes about 10 MB once it is parsed."""

MIB = 2**20

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


def request(target: Target, body: bytes, *headers: str) -> bytes:
    fields = (f"authorization: Bearer {target.token()}", f"content-length: {len(body)}", *headers)
    lines = ("POST /graphql HTTP/1.1", "host: x", "content-type: application/json", *fields, "", "")
    return "\r\n".join(lines).encode() + body


async def test_a_subscription_does_not_keep_variables_that_it_does_not_declare(target: Target) -> None:
    followed = f"conversation:{await target.agent_id()}".encode()
    query = b'"query": "subscription($id: ID!) { conversation(id: $id) { __typename } }"'
    body = b"{" + query + b', "variables": {"id": "' + followed + b'", "x": ' + FAT + b"}}"
    async with target.bystander(), target.measured() as cost, AsyncExitStack() as opened:
        connections = [await opened.enter_async_context(raw(target.address)) for _ in range(REQUESTS)]
        for connection in connections:
            await connection.send(request(target, body, "accept: text/event-stream"))
        for connection in connections:
            assert (await connection.reader.readline()).startswith(b"HTTP/1.1 200")
    assert cost.rss_bytes < 90 * MIB


async def test_bodies_that_end_at_the_same_time_do_not_block_the_loop(target: Target) -> None:
    body = b'{"query": "{ viewer { id } }", "variables": {"x": ' + FAT + b"}}"

    async def answered(connection: Raw) -> int:
        return (await connection.answer())[0]

    async with target.bystander(), target.measured() as cost, AsyncExitStack() as opened:
        connections = [await opened.enter_async_context(raw(target.address)) for _ in range(REQUESTS)]
        for connection in connections:
            await connection.send(request(target, body)[:-1])
        for connection in connections:
            connection.writer.write(b"}")
        assert set(await asyncio.gather(*map(answered, connections))) <= {200, 503}
    assert cost.peak_rss_bytes < 100 * MIB
