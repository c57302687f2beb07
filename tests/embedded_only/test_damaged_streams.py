"""Streams while Redis is full, and streams that a different version of the gateway has written."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.embedded.people import ADA
from clients.origin import Owner
from clients.state.connection import RedisConnection
from clients.state.streams.keys import stream_keys
from tests.support.documents import COMPLETION, STREAM
from tests.support.doors import Refused, events
from tests.support.redis_server import redis_server
from tests.support.state import Seen
from tests.support.streaming import completion, expected, text_of
from tests.support.two_gateways import Replicas, begun, rest, two_replicas

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(30), pytest.mark.asyncio(loop_scope="module")]

TEXT = "query($id: ID!) { stream(id: $id) { status text } }"
STREAMS = "{ viewer { streams { id } } }"
NEXT_ENTRY = """
local next = redis.call('XLEN', KEYS[1]) + 1
return redis.call('XADD', KEYS[1], next .. '-0', 'd', 'an entry', 'novelty', '1')
"""
"""Adds an entry of a different version, at once, because the stream's process adds entries too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[tuple[Replicas, RedisConnection]]:
    """Two gateways, and a connection to their Redis server."""
    with redis_server() as redis:
        url = redis.url()
        connection = RedisConnection(url, None, Seen())
        try:
            async with two_replicas(url) as replicas:
                yield replicas, connection
        finally:
            await connection.aclose()


async def test_a_request_with_a_key_is_answered_while_redis_is_full(
    shared: tuple[Replicas, RedisConnection],
) -> None:
    (first, _), redis = shared
    variables = {"i": completion(first, "tokens=3 delay=0"), "k": str(uuid.uuid4())}
    await redis.command("CONFIG", "SET", "maxmemory", "1")
    try:
        heard = [event async for event in events(first, "websocket", COMPLETION, variables)]
        again = [event async for event in events(first, "websocket", COMPLETION, variables)]
    finally:
        await redis.command("CONFIG", "SET", "maxmemory", "0")
    assert text_of(heard) == text_of(again) == expected(3)
    assert again[0]["replayed"] is True


async def test_a_stream_of_another_version_disturbs_no_other_reader(shared: tuple[Replicas, RedisConnection]) -> None:
    (first, second), redis = shared
    given = completion(first, "tokens=4 delay=0.3", onDisconnect="CONTINUE")
    async with begun(first, COMPLETION, given) as (novel, _), begun(first, COMPLETION, given) as (known, _):
        elsewhere = events(second, "websocket", STREAM, {"id": known})
        heard = [await anext(elsewhere)]
        record, log = stream_keys(Owner(ADA), novel)
        reading = events(second, "event stream", STREAM, {"id": novel})
        await anext(reading)
        await redis.command("EVAL", NEXT_ENTRY, 1, log)
        with pytest.raises(Refused) as refused:
            await rest(reading)
        assert refused.value.extensions["reason"] == "DECODE"
        await redis.command("HSET", record, "state", "paused")
        answer = await second.graphql(TEXT, {"id": novel})
        assert answer["errors"][0]["extensions"]["reason"] == "DECODE"
        listed = await second.graphql(STREAMS)
        assert {"id": known} in listed["data"]["viewer"]["streams"]
        assert {"id": novel} not in listed["data"]["viewer"]["streams"]
        heard += await rest(elsewhere)
    assert text_of(heard) == expected(4)
