"""Follows of one agent cost Letta as much as one follow, and a user has so many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from resolvers.watch import MAX_FOLLOWS
from tests.support.attack import Target, attacked
from tests.support.stack import ADA, GraphQLSocket
from tests.support.websocket import PROTOCOL

FOLLOW = "subscription($id: ID!) { conversation(id: $id) { __typename } }"
PER_SOCKET = 50
LOOK_SECONDS = 0.2
WINDOW_SECONDS = 4.0

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    settings = {"STREAM_LOOK_SECONDS": str(LOOK_SECONDS), "RATE_LIMIT_GENERAL": "0"}
    async with attacked(tmp_path_factory.mktemp("follows"), **settings) as target:
        yield target


@asynccontextmanager
async def socket(target: Target, user_id: str = ADA) -> AsyncIterator[GraphQLSocket]:
    url = f"ws{target.url.removeprefix('http')}/graphql"
    async with connect(url, subprotocols=[PROTOCOL], proxy=None) as connection:
        opened = GraphQLSocket(connection)
        await opened.tell(type="connection_init", payload={"authorization": f"Bearer {target.token(user_id)}"})
        assert (await opened.hear())["type"] == "connection_ack"
        yield opened


async def conversation(target: Target) -> str:
    """The default conversation of an agent of Ada's."""
    async with target.client() as client:
        answer = await client.post("/graphql", json={"query": "{ viewer { agents(first: 1) { nodes { id } } } }"})
    return f"conversation:{answer.json()['data']['viewer']['agents']['nodes'][0]['id']}"


async def calls(target: Target, operation: str) -> float:
    samples = (await target.metrics()).get("agentgraph_upstream_calls_total", [])
    return sum(value for labels, value in samples if labels["operation"] == operation)


async def follow(target: Target, opened: GraphQLSocket, conversation_id: str, number: int) -> None:
    """Begin follows, and wait until each has asked AMS whose the conversation is."""
    before = await calls(target, "me")
    for _ in range(number):
        await opened.subscribe(FOLLOW, {"id": conversation_id})
    while await calls(target, "me") < before + number:
        await asyncio.sleep(0.05)


async def said(opened: GraphQLSocket) -> dict[str, Any]:
    """The next error."""
    while (message := await opened.hear())["type"] != "error":
        pass
    return message


async def test_many_follows_of_one_agent_poll_letta_as_one_does(target: Target) -> None:
    conversation_id = await conversation(target)
    async with AsyncExitStack() as stack:
        for _ in range(0, MAX_FOLLOWS, PER_SOCKET):
            await follow(target, await stack.enter_async_context(socket(target)), conversation_id, PER_SOCKET)
        async with target.bystander(), target.measured() as cost:
            await asyncio.sleep(WINDOW_SECONDS)
        polls = cost.metric("agentgraph_upstream_calls_total", operation="runs")
    assert 1 <= polls <= 2 * WINDOW_SECONDS / LOOK_SECONDS


@pytest.mark.bound("follows")
async def test_the_bound_on_the_follows_of_a_user(target: Target) -> None:
    conversation_id = await conversation(target)
    async with target.bystander(), AsyncExitStack() as stack:
        for _ in range(0, MAX_FOLLOWS, PER_SOCKET):
            last = await stack.enter_async_context(socket(target))
            await follow(target, last, conversation_id, PER_SOCKET)
        async with socket(target) as another:
            await another.subscribe(FOLLOW, {"id": conversation_id})
            [error] = (await said(another))["payload"]
        assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("RATE_LIMITED", "FOLLOWS")
        assert str(MAX_FOLLOWS) in error["message"]
        await last.socket.close()
        async with socket(target) as another:
            while True:  # the socket's follows end a moment after it
                await another.subscribe(FOLLOW, {"id": conversation_id})
                try:
                    async with asyncio.timeout(1):
                        await said(another)
                except TimeoutError:
                    return
