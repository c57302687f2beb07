"""All follows of one agent make as many calls to Letta as one, and each user has a maximum number of follows."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from resolvers.watch import MAX_FOLLOWS
from tests.support.attack import Target
from tests.support.stack import GraphQLSocket

FOLLOW = "subscription($id: ID!) { conversation(id: $id) { __typename } }"
PER_SOCKET = 50
LOOK_SECONDS = 0.2
SETTINGS = {"STREAM_LOOK_SECONDS": str(LOOK_SECONDS), "RATE_LIMIT_GENERAL": "0"}
WINDOW_SECONDS = 4.0

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]


async def calls(target: Target, operation: str) -> float:
    samples = (await target.metrics()).get("agentgraph_upstream_calls_total", [])
    return sum(value for labels, value in samples if labels["operation"] == operation)


async def follow(target: Target, opened: GraphQLSocket, conversation_id: str, number: int) -> None:
    """Start follows, and wait until each has asked AMS for the conversation's owner."""
    before = await calls(target, "me")
    for _ in range(number):
        await opened.subscribe(FOLLOW, {"id": conversation_id})
    while await calls(target, "me") < before + number:
        await asyncio.sleep(0.05)


async def said(opened: GraphQLSocket) -> dict[str, Any]:
    while (message := await opened.hear())["type"] != "error":
        pass
    return message


async def test_many_follows_of_one_agent_poll_letta_as_often_as_one(target: Target) -> None:
    conversation_id = f"conversation:{await target.agent_id()}"
    async with AsyncExitStack() as stack:
        for _ in range(0, MAX_FOLLOWS, PER_SOCKET):
            await follow(target, await stack.enter_async_context(target.socket()), conversation_id, PER_SOCKET)
        async with target.bystander(), target.measured() as cost:
            await asyncio.sleep(WINDOW_SECONDS)
        polls = cost.metric("agentgraph_upstream_calls_total", operation="runs")
    assert 1 <= polls <= 2 * WINDOW_SECONDS / LOOK_SECONDS


@pytest.mark.bound("follows")
async def test_the_bound_on_the_follows_of_a_user(target: Target) -> None:
    conversation_id = f"conversation:{await target.agent_id()}"
    async with target.bystander(), AsyncExitStack() as stack:
        for _ in range(0, MAX_FOLLOWS, PER_SOCKET):
            last = await stack.enter_async_context(target.socket())
            await follow(target, last, conversation_id, PER_SOCKET)
        async with target.socket() as another:
            await another.subscribe(FOLLOW, {"id": conversation_id})
            [error] = (await said(another))["payload"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("RATE_LIMITED", "FOLLOWS")
        assert str(MAX_FOLLOWS) in error["message"]
        await last.socket.close()
        async with target.socket() as another:
            while True:  # the socket's follows end a moment after it
                await another.subscribe(FOLLOW, {"id": conversation_id})
                try:
                    async with asyncio.timeout(1):
                        await said(another)
                except TimeoutError:
                    return
