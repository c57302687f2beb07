"""Agents as models of ``/v1``: after the last reader of a stream has left, the run is cancelled."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import aclosing

from tests.support.agent_models import statuses
from tests.support.agent_streams import CHAT, LONG, reach, run_is_cancelled, streaming, to_agent
from tests.support.documents import STREAM
from tests.support.doors import events
from tests.support.stack import Stack, until


async def continues(stack: Stack, stream_id: str) -> None:
    """Wait until the stream has more text. An abandoned stream would get none."""

    async def text() -> str:
        answer = await stack.graphql("query($i: ID!) { stream(id: $i) { text } }", {"i": stream_id})
        return str(answer["data"]["stream"]["text"])

    before = await text()

    async def has_grown() -> bool:
        return len(await text()) > len(before) + 60

    await until(has_grown)


async def test_a_subscription_is_the_last_reader(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    async with (
        streaming(stack, to_agent(agent_id, LONG)) as (stream_id, lines),
        aclosing(events(stack, "websocket", STREAM, {"id": stream_id})) as heard,
    ):
        await anext(heard)
        await lines.aclose()
        await continues(stack, stream_id)
        assert await statuses(stack, agent_id) == ["RUNNING"]
    await run_is_cancelled(stack, agent_id)


async def test_a_request_that_is_not_streamed_is_the_last_reader(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    key = {"Idempotency-Key": str(uuid.uuid4())}
    async with streaming(stack, to_agent(agent_id, LONG), **key) as (stream_id, lines):
        headers = {**stack.headers(), **key}
        whole = asyncio.create_task(stack.client.post(CHAT, json=to_agent(agent_id, LONG), headers=headers))
        await reach(lines, "tok20 ")
    await continues(stack, stream_id)
    assert await statuses(stack, agent_id) == ["RUNNING"]
    whole.cancel()
    await run_is_cancelled(stack, agent_id)


async def test_a_second_streamed_request_is_the_last_reader(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    asked, key = to_agent(agent_id, LONG), {"Idempotency-Key": str(uuid.uuid4())}
    async with streaming(stack, asked, **key) as (one, lines), streaming(stack, asked, **key) as (two, _):
        assert one == two
        await lines.aclose()
        await continues(stack, one)
        assert await statuses(stack, agent_id) == ["RUNNING"]
    await run_is_cancelled(stack, agent_id)


async def test_a_subscription_reads_a_long_turn_to_its_end(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    async with (
        streaming(stack, to_agent(agent_id, "tokens=100 delay=0.03")) as (stream_id, lines),
        aclosing(events(stack, "websocket", STREAM, {"id": stream_id})) as heard,
    ):
        await anext(heard)
        await lines.aclose()
        last = [event async for event in heard][-1]
    assert last["outcome"] == "COMPLETED"
    assert await statuses(stack, agent_id) == ["COMPLETED"]
