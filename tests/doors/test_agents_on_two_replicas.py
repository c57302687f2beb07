"""Agents as models of two gateways that share a Redis server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.support.agent_models import said, statuses
from tests.support.agent_streams import LONG, reach, run_is_cancelled, streaming
from tests.support.openai import ask
from tests.support.redis_server import RedisServer
from tests.support.stack import until
from tests.support.streaming import expected
from tests.support.two_gateways import Replicas, two_replicas

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs_redis]

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(shared_redis: RedisServer) -> AsyncIterator[Replicas]:
    async with two_replicas(shared_redis.url()) as both:
        yield both


def to_agent(agent_id: str, directive: str, **more: Any) -> dict[str, Any]:
    return {"model": agent_id, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], **more}


@pytest.mark.parametrize("ended", [False, True])
async def test_an_sdks_own_retry_attaches_at_another_replica(replicas: Replicas, ended: bool) -> None:
    first, second = replicas
    agent_id = await first.make_agent()
    asked = to_agent(agent_id, f"tokens=3 delay=0 first={0.3 if ended else 2}")
    left = asyncio.create_task(ask(first, CHAT, asked, **{"x-stainless-retry-count": "0"}))

    async def is_in(status: str) -> bool:
        return await statuses(first, agent_id) == [status]

    await until(lambda: is_in("RUNNING"))
    left.cancel()
    if ended:
        await until(lambda: is_in("COMPLETED"), 20)
    answer = await ask(second, CHAT, asked, **{"x-stainless-retry-count": "1"})
    assert answer.json()["choices"][0]["message"]["content"] == expected(3)
    assert len(await said(first, f"conversation:{agent_id}")) == 1


async def test_a_repeated_key_and_a_response_work_at_another_replica(replicas: Replicas) -> None:
    first, second = replicas
    agent_id = await first.make_agent()
    asked = {"model": agent_id, "input": "hi [[tokens=3 delay=0]]", "stream": True}
    key = {"Idempotency-Key": agent_id}
    one, two = await ask(first, RESPONSES, asked, **key), await ask(second, RESPONSES, asked, **key)
    assert one.status_code == 200, one.text
    assert one.text == two.text
    name = f"resp_{agent_id}_{one.headers['x-stream-id'].removeprefix('stream:')}"
    read = [await stack.client.get(f"{RESPONSES}/{name}", headers=stack.headers()) for stack in replicas]
    assert read[0].json() == read[1].json()
    assert read[0].json()["output"][-1]["content"][0]["text"] == expected(3)
    assert len(await said(first, f"conversation:{agent_id}")) == 1


async def test_a_client_that_leaves_cancels_the_run(replicas: Replicas) -> None:
    first = replicas.first
    agent_id = await first.make_agent()
    asked = to_agent(agent_id, "tokens=400 delay=0.05", stream=True)
    async with first.client.stream("POST", CHAT, json=asked, headers=first.headers()) as answer:
        lines = answer.aiter_lines()  # closing the iterator closes the connection
        while "tok1" not in await anext(lines):
            pass

    async def cancelled() -> bool:
        return await statuses(first, agent_id) == ["CANCELLED"]

    await until(cancelled)


@pytest.mark.parametrize("last", [0, 1])
async def test_the_last_reader_cancels_the_run_at_either_replica(replicas: Replicas, last: int) -> None:
    """The first replica holds the stream."""
    agent_id = await replicas.first.make_agent()
    asked, key = to_agent(agent_id, LONG), {"Idempotency-Key": str(uuid.uuid4())}
    async with AsyncExitStack() as stack:
        read = [await stack.enter_async_context(streaming(each, asked, **key)) for each in replicas]
        assert read[0][0] == read[1][0]
        await read[1 - last][1].aclose()
        await reach(read[last][1], "tok40 ")
        assert await statuses(replicas.first, agent_id) == ["RUNNING"]
        await read[last][1].aclose()
        await run_is_cancelled(replicas.first, agent_id)


async def test_a_message_is_sent_again_although_its_first_attempt_was_refused_elsewhere(replicas: Replicas) -> None:
    """A client sends one text twice. Its SDK repeats the second request at another replica after a refusal."""
    first, second = replicas
    agent_id = await first.make_agent()
    asked = to_agent(agent_id, "tokens=3 delay=0", stream=True)
    one = await ask(first, CHAT, asked, **{"x-stainless-retry-count": "0"})
    two = await ask(second, CHAT, asked, **{"x-stainless-retry-count": "1"})
    assert (one.status_code, two.status_code) == (200, 200)
    assert len(await said(first, f"conversation:{agent_id}")) == 2
