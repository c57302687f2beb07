"""Agents whose model calls go through the gateway's proxy."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from clients.bulkhead import SHARES
from tests.conftest import REAL
from tests.support.documents import (
    AGENT_MEMORY,
    CREATE_CONVERSATION,
    INSERT_PASSAGE,
    RESPOND,
    SEARCH_MEMORY,
    STREAM,
    STREAM_FIELDS,
    UPDATE_MEMORY_BLOCK,
)
from tests.support.doors import events
from tests.support.openai import ask, asking
from tests.support.stack import ADA, GRACE, Stack, any_stack, until
from tests.support.streaming import completion, expected, text_of
from tests.support.usage import rises, settled, these_days, usage

MESSAGE = f"""subscription($i: SendMessageInput!, $k: ID!) {{ message(input: $i, streamKey: $k) {{
  {STREAM_FIELDS} ... on StreamStarted {{ run {{ id }} }}
  ... on ApprovalRequested {{ edge {{ node {{ id }} }} }} }} }}"""
RUN = "query($i: ID!) { run(id: $i) { status } }"
DAY = """query($a: ID!, $c: ID!, $from: Date!, $to: Date!) {
  agent(id: $a) {
    conversations { nodes { id } } passages { nodes { text } } memoryBlocks { id value }
    runs { nodes { status usage { totalTokens } steps { id } } } }
  conversation(id: $c) { messages { nodes { __typename text } } }
  viewer { budget { spendUsd } usage(from: $from, to: $to) { totals { totalTokens costUsd } } } }"""
PROXIED = r'agentgraph_requests_total\{method="POST",route="/api/\S+/%s",status="(\d+)"\} (\d+)'
LETTA_KEY = os.environ.get("LETTA_OPENAI_API_KEY", "letta-" + "k" * 32)
"""Letta's own key, which Letta sends with embeddings; a real Letta gets the key when it is started."""


@pytest.fixture
async def circle() -> AsyncIterator[Stack]:
    async with any_stack() as stack, stack.circle():
        await stack.own_key(ADA)
        await stack.own_key(GRACE)
        yield stack


async def proxied(stack: Stack, what: str = "completions") -> dict[str, int]:
    """Return the number of model calls that came through the proxy, by status."""
    found = re.findall(PROXIED % what, (await stack.client.get("/metrics")).text)
    return {status: int(float(count)) for status, count in found}


async def turn(stack: Stack, agent_id: str, directive: str, *, user: str = ADA) -> list[dict[str, Any]]:
    return await heard_in(stack, {"agentId": agent_id}, directive, user=user)


async def heard_in(stack: Stack, there: dict[str, str], directive: str, *, user: str = ADA) -> list[dict[str, Any]]:
    said = {"to": there, "content": [{"text": f"hi [[{directive}]]"}]}
    given = {"i": said, "k": str(uuid.uuid4())}
    return [event async for event in events(stack, "event stream", MESSAGE, given, user=user)]


async def test_the_model_calls_of_a_turn_are_charged_to_its_user(circle: Stack) -> None:
    agent_id, before = await circle.make_agent(), await circle.spent()
    graces = await circle.spent(GRACE)
    heard = await turn(circle, agent_id, "tokens=200 delay=0")
    assert text_of(heard) == expected(200)
    assert heard[-1]["outcome"] == "COMPLETED"
    assert await proxied(circle) == {"200": 1}
    [started] = [event for event in heard if event["__typename"] == "StreamStarted"]
    run = await circle.graphql(RUN, {"i": started["run"]["id"]})
    assert run["data"]["run"]["status"] == "COMPLETED"
    await rises(circle.spent, before)
    assert await circle.spent(GRACE) == graces


async def test_messages_memory_runs_and_usage_of_a_day_are_consistent(circle: Stack) -> None:
    """The day has a conversation, an approval, a passage and an updated memory block."""
    agent_id, before = await circle.make_agent(), await circle.spent()
    await circle.require_approval(agent_id, "memory_insert")
    started = await circle.graphql(CREATE_CONVERSATION, {"a": agent_id, "s": "The day"})
    conversation_id = started["data"]["createConversation"]["conversationEdge"]["node"]["id"]
    there = {"conversationId": conversation_id}
    heard = await heard_in(circle, there, "tokens=50 delay=0")
    answer = text_of(heard)
    heard += await heard_in(circle, there, "tokens=2 delay=0 tool=memory_insert approve=1")
    assert heard[-1]["finishReason"] == "REQUIRES_APPROVAL"
    [request] = [event["edge"]["node"] for event in heard if event["__typename"] == "ApprovalRequested"]
    decided = {"requestId": request["id"], "decision": "APPROVE"}
    [followed] = (await circle.graphql(RESPOND, {"i": decided}))["data"]["respondToApproval"]["stream"].values()
    heard += [event async for event in events(circle, "event stream", STREAM, {"id": followed})]
    assert (heard[-1]["outcome"], heard[-1]["finishReason"]) == ("COMPLETED", "END_TURN")
    kept = await circle.graphql(INSERT_PASSAGE, {"a": agent_id, "t": "The day was long."})
    assert kept["data"]["insertPassage"]["errors"] == []
    owned = (await circle.graphql(AGENT_MEMORY, {"a": agent_id}))["data"]["agent"]
    block_id = owned["memoryBlocks"][0]["id"]
    await circle.graphql(UPDATE_MEMORY_BLOCK, {"b": block_id, "v": "Likes long days."})

    calls = sum((await proxied(circle)).values())
    assert await proxied(circle) == {"200": calls}
    assert calls >= 3
    await settled(circle, calls)

    async def billed() -> bool:
        """Return whether LiteLLM has added all calls to the key's spend, which it records apart from the usage."""
        return await circle.spent() - before == Decimal((await usage(circle))["totals"]["costUsd"])

    await until(billed, 30)
    day = (await circle.graphql(DAY, {"a": agent_id, "c": conversation_id, **these_days()}))["data"]
    agent, conversation, viewer = day["agent"], day["conversation"], day["viewer"]
    said = [message["__typename"] for message in conversation["messages"]["nodes"]]
    assert [kind for kind in said if kind != "SystemMessage"] == [
        "UserMessage",
        "AssistantMessage",
        "UserMessage",
        "ApprovalRequestMessage",
        "ApprovalResponseMessage",
        "ToolReturnMessage",
        "AssistantMessage",
    ]
    assert answer in [message.get("text") for message in conversation["messages"]["nodes"]]
    assert [node["id"] for node in agent["conversations"]["nodes"]] == [conversation_id]
    assert [node["text"] for node in agent["passages"]["nodes"]] == ["The day was long."]
    assert {block["id"]: block["value"] for block in agent["memoryBlocks"]}[block_id] == "Likes long days."
    runs = agent["runs"]["nodes"]
    assert [run["status"] for run in runs] == ["COMPLETED"] * 3
    assert sum(len(run["steps"]) for run in runs) == calls
    tokens = sum(run["usage"]["totalTokens"] for run in runs)
    assert tokens == viewer["usage"]["totals"]["totalTokens"] > 0
    assert Decimal(viewer["budget"]["spendUsd"]) - before == Decimal(viewer["usage"]["totals"]["costUsd"]) > 0


@pytest.mark.skipif(REAL and "LETTA_OPENAI_API_KEY" not in os.environ, reason="LETTA_OPENAI_API_KEY is not set")
async def test_passages_and_searches_are_embedded_through_the_proxy() -> None:
    async with any_stack(letta_proxy_key=LETTA_KEY) as stack, stack.circle(letta_key=LETTA_KEY):
        await stack.own_key()
        agent_id, before = await stack.make_agent(), await stack.spent()
        kept = await stack.graphql(INSERT_PASSAGE, {"a": agent_id, "t": "The van comes on Tuesdays."})
        assert kept["data"]["insertPassage"]["errors"] == []
        assert await proxied(stack, "embeddings") == {"200": 1}
        [hit] = (await stack.graphql(SEARCH_MEMORY, {"a": agent_id, "q": "van"}))["data"]["agent"]["searchMemory"]
        assert hit["passage"]["text"] == "The van comes on Tuesdays."
        assert await proxied(stack, "embeddings") == {"200": 2}
        await rises(stack.spent, before)


async def test_the_turns_of_each_user_are_charged_to_that_user(circle: Stack) -> None:
    before = {user: await circle.spent(user) for user in (ADA, GRACE)}
    agents = {user: await circle.make_agent(user) for user in (ADA, GRACE)}
    for user, agent_id in agents.items():
        heard = await turn(circle, agent_id, "tokens=50 delay=0", user=user)
        assert heard[-1]["outcome"] == "COMPLETED"
        await rises(partial(circle.spent, user), before[user])


async def test_an_agent_without_the_proxy_does_not_use_that_of_another_user(circle: Stack) -> None:
    await circle.make_agent()
    circle.platform.reach_gateway(None)
    plain = await circle.make_agent(GRACE)
    heard = await turn(circle, plain, "tokens=2 delay=0", user=GRACE)
    assert heard[-1]["outcome"] == "COMPLETED"
    assert await proxied(circle) == {}


async def test_a_failed_model_call_of_the_proxy_fails_the_turn(circle: Stack) -> None:
    agent_id = await circle.make_agent()
    heard = await turn(circle, agent_id, "error=400")
    assert heard[-1]["outcome"] == "FAILED"
    assert set(await proxied(circle)) == {"400"}


async def test_a_turn_fails_with_budget_exceeded_if_the_budget_is_spent(circle: Stack) -> None:
    await circle.own_key(max_budget=0.0)
    agent_id = await circle.make_agent()
    heard = await turn(circle, agent_id, "tokens=2 delay=0")
    assert heard[-1]["outcome"] == "FAILED"
    assert heard[-1]["error"]["code"] == "BUDGET_EXCEEDED"
    assert await proxied(circle) == {"402": 1}


async def test_agents_of_a_deleted_user_are_refused(circle: Stack) -> None:
    agent_id = await circle.make_agent()
    circle.platform.state.users[GRACE].rows.append(circle.platform.state.users[ADA].rows[0])
    circle.platform.state.users.pop(ADA)
    heard = await turn(circle, agent_id, "tokens=1", user=GRACE)  # Letta has no users: it calls as Ada's agent
    assert heard[-1]["outcome"] == "FAILED"
    assert set(await proxied(circle)) == {"401"}


async def test_turns_in_all_slots_do_not_block_their_own_model_calls() -> None:
    slots = 3
    async with any_stack(max_concurrent_streams=SHARES * slots) as stack, stack.circle():
        agents = [await stack.make_agent() for _ in range(slots)]
        before = (await stack.model_stats())["inflight"]
        turns = [asyncio.create_task(turn(stack, agent_id, "tokens=3 first=1 delay=0")) for agent_id in agents]

        async def all_asked() -> bool:
            return (await stack.model_stats())["inflight"] == before + slots

        await until(all_asked)  # no slot is free, and the call of each turn has come through
        refused = await ask(stack, "/v1/chat/completions", asking(stack, ""))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "streams")
        for heard in await asyncio.gather(*turns):
            assert text_of(heard) == "tok0 tok1 tok2"
            assert heard[-1]["outcome"] == "COMPLETED"


async def test_a_user_with_the_most_streams_does_not_block_the_calls_of_their_agents() -> None:
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
    async with any_stack(max_streams_per_user=3) as stack, stack.circle():
        await stack.own_key()
        agent_id, asked = await stack.make_agent(), completion(stack, "tokens=200 delay=0.5")
        for _ in range(2):  # the turn is the third
            started = await stack.graphql(start, {"i": asked | {"idempotencyKey": str(uuid.uuid4())}})
            assert started["data"]["startCompletion"]["stream"]["id"]
        heard = await turn(stack, agent_id, "tokens=3 delay=0")
    assert heard[-1]["outcome"] == "COMPLETED"
    assert text_of(heard) == "tok0 tok1 tok2"
