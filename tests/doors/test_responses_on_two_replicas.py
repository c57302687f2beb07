"""Responses of two gateways that share a Redis server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.documents import STREAM
from tests.support.doors import events
from tests.support.openai import ask
from tests.support.redis_server import RedisServer
from tests.support.response_events import deltas, events_in
from tests.support.streaming import expected, text_of, upstream_closed
from tests.support.two_gateways import Replicas, two_replicas

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs_redis]

PATH = "/v1/responses"
CANCEL = "mutation($i: ID!) { cancelStream(input: { streamId: $i }) { stream { status } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(shared_redis: RedisServer) -> AsyncIterator[Replicas]:
    async with two_replicas(shared_redis.url()) as both:
        yield both


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeated_request_gets_the_first_answer(replicas: Replicas, stream: bool) -> None:
    first, second = replicas
    key, before = {"idempotency-key": str(uuid.uuid4())}, await first.model_stats()
    body = {"model": first.chat_model, "input": "hi [[tokens=5 delay=0]]", "stream": stream}
    one, two = await ask(first, PATH, body, **key), await ask(second, PATH, body, **key)
    assert one.status_code == 200, one.text
    assert one.text == two.text
    assert (await first.model_stats())["total"] == before["total"] + 1


async def test_a_stream_is_resumed_at_the_other_replica(replicas: Replicas) -> None:
    first, second = replicas
    body = {"model": first.chat_model, "input": "hi [[tokens=5 delay=0]]", "stream": True}
    answer = await ask(first, PATH, body)
    resumed = [event async for event in events(second, "websocket", STREAM, {"id": answer.headers["x-stream-id"]})]
    assert (text_of(resumed), resumed[-1]["outcome"]) == (expected(5), "COMPLETED")


async def test_a_stream_that_the_other_replica_cancels_ends_with_response_failed(replicas: Replicas) -> None:
    first, second = replicas
    before = await first.model_stats()
    body = {"model": first.chat_model, "input": "hi [[tokens=400 delay=0.05]]", "stream": True}
    async with first.client.stream("POST", PATH, json=body, headers=first.headers()) as answer:
        text = ""
        async for piece in answer.aiter_text():
            if "tok1" in piece:
                cancelled = await second.graphql(CANCEL, {"i": answer.headers["x-stream-id"]})
                assert "errors" not in cancelled
            text += piece
    found = events_in(text)
    assert (found[-1]["type"], found[-1]["response"]["error"]["code"]) == ("response.failed", "cancelled")
    assert expected(400).startswith(deltas(found).strip())
    await upstream_closed(first, before)
