"""The full circle: a message to an agent, whose model calls come back through the gateway that sent it."""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
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
from tests.support.stack import ADA, GRACE, Stack, any_stack, until
from tests.support.streaming import text_of
from tests.support.usage import settled, these_days, usage

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
"""Letta's own key, which it sends with embeddings. The real one has it from whoever started it."""


@pytest.fixture
async def circle() -> AsyncIterator[Stack]:
    async with any_stack() as stack, stack.circle():
        await stack.own_key(ADA)
        await stack.own_key(GRACE)
        yield stack


async def proxied(stack: Stack, what: str = "completions") -> dict[str, int]:
    """How many model calls have come back, by status."""
    found = re.findall(PROXIED % what, (await stack.client.get("/metrics")).text)
    return {status: int(float(count)) for status, count in found}


def to(there: dict[str, str], directive: str) -> dict[str, Any]:
    said = {"to": there, "content": [{"text": f"hi [[{directive}]]"}]}
    return {"i": said, "k": str(uuid.uuid4())}


async def turn(stack: Stack, agent_id: str, directive: str, *, user: str = ADA) -> list[dict[str, Any]]:
    return await heard_in(stack, {"agentId": agent_id}, directive, user=user)


async def heard_in(stack: Stack, there: dict[str, str], directive: str, *, user: str = ADA) -> list[dict[str, Any]]:
    return [event async for event in events(stack, "event stream", MESSAGE, to(there, directive), user=user)]


async def test_a_turns_model_calls_come_back_and_its_user_pays(circle: Stack) -> None:
    agent_id, before = await circle.make_agent(), await circle.spent()
    graces = await circle.spent(GRACE)
    heard = await turn(circle, agent_id, "tokens=200 delay=0")
    assert text_of(heard) == " ".join(f"tok{n}" for n in range(200))
    assert heard[-1]["outcome"] == "COMPLETED"
    assert await proxied(circle) == {"200": 1}
    [started] = [event for event in heard if event["__typename"] == "StreamStarted"]
    run = await circle.graphql(RUN, {"i": started["run"]["id"]})
    assert run["data"]["run"]["status"] == "COMPLETED"

    async def charged() -> bool:
        return await circle.spent() > before

    await until(charged, 20)  # the real LiteLLM writes down what was spent every two seconds
    assert await circle.spent(GRACE) == graces


async def test_what_was_done_on_the_way_round_reads_back(circle: Stack) -> None:
    """An agent's day: a conversation, a question of leave, something kept in mind; and what all of it has cost."""
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
        """Whether LiteLLM has added all calls to the key's spend, which it writes apart from the usage."""
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


@pytest.mark.skipif(REAL and "LETTA_OPENAI_API_KEY" not in os.environ, reason="nobody has said what Letta's own key is")
async def test_what_is_kept_in_mind_and_searched_is_embedded_through_the_proxy() -> None:
    async with any_stack(letta_proxy_key=LETTA_KEY) as stack, stack.circle(letta_key=LETTA_KEY):
        await stack.own_key()
        agent_id, before = await stack.make_agent(), await stack.spent()
        kept = await stack.graphql(INSERT_PASSAGE, {"a": agent_id, "t": "The van comes on Tuesdays."})
        assert kept["data"]["insertPassage"]["errors"] == []
        assert await proxied(stack, "embeddings") == {"200": 1}
        [hit] = (await stack.graphql(SEARCH_MEMORY, {"a": agent_id, "q": "van"}))["data"]["agent"]["searchMemory"]
        assert hit["passage"]["text"] == "The van comes on Tuesdays."
        assert await proxied(stack, "embeddings") == {"200": 2}

        async def charged() -> bool:
            return await stack.spent() > before

        await until(charged, 20)


async def test_each_users_agents_come_back_as_themselves(circle: Stack) -> None:
    before = {user: await circle.spent(user) for user in (ADA, GRACE)}
    agents = {user: await circle.make_agent(user) for user in (ADA, GRACE)}
    for user, agent_id in agents.items():
        heard = await turn(circle, agent_id, "tokens=50 delay=0", user=user)
        assert heard[-1]["outcome"] == "COMPLETED"

    async def charged() -> bool:
        return all([await circle.spent(user) > before[user] for user in agents])

    await until(charged, 20)


async def test_an_agent_without_a_proxy_is_not_drawn_into_somebody_elses(circle: Stack) -> None:
    await circle.make_agent()
    circle.platform.reach_gateway(None)
    plain = await circle.make_agent(GRACE)
    heard = await turn(circle, plain, "tokens=2 delay=0", user=GRACE)
    assert heard[-1]["outcome"] == "COMPLETED"
    assert await proxied(circle) == {}


async def test_a_model_that_fails_there_fails_the_turn(circle: Stack) -> None:
    agent_id = await circle.make_agent()
    heard = await turn(circle, agent_id, "error=400")
    assert heard[-1]["outcome"] == "FAILED"
    assert set(await proxied(circle)) == {"400"}


async def test_a_spent_budget_is_said_to_be_spent(circle: Stack) -> None:
    await circle.own_key(max_budget=0.0)
    agent_id = await circle.make_agent()
    heard = await turn(circle, agent_id, "tokens=2 delay=0")
    assert heard[-1]["outcome"] == "FAILED"
    assert heard[-1]["error"]["code"] == "BUDGET_EXCEEDED"
    assert await proxied(circle) == {"402": 1}


async def test_agents_of_a_user_who_is_gone_are_let_in_nowhere(circle: Stack) -> None:
    agent_id = await circle.make_agent()
    circle.platform.state.users[GRACE].rows.append(circle.platform.state.users[ADA].rows[0])
    circle.platform.state.users.pop(ADA)
    heard = await turn(circle, agent_id, "tokens=1", user=GRACE)  # Letta knows no users: it calls as Ada's agent
    assert heard[-1]["outcome"] == "FAILED"
    assert set(await proxied(circle)) == {"401"}


async def test_turns_in_every_place_there_is_do_not_keep_their_own_calls_out() -> None:
    places = 3
    async with any_stack(max_concurrent_streams=SHARES * places) as stack, stack.circle():
        agents = [await stack.make_agent() for _ in range(places)]
        before = (await stack.model_stats())["inflight"]
        turns = [asyncio.create_task(turn(stack, agent_id, "tokens=3 first=1 delay=0")) for agent_id in agents]

        async def all_asked() -> bool:
            return (await stack.model_stats())["inflight"] == before + places

        await until(all_asked)  # no place was left, and yet each turn's call has come through
        body = {"model": stack.chat_model, "messages": [{"role": "user", "content": "hi"}]}
        refused = await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers())
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "streams")
        for heard in await asyncio.gather(*turns):
            assert text_of(heard) == "tok0 tok1 tok2"
            assert heard[-1]["outcome"] == "COMPLETED"


async def test_as_many_streams_as_a_user_may_have_do_not_keep_their_agents_out(circle: Stack) -> None:
    agent_id = await circle.make_agent()
    completion = {"model": circle.chat_model, "messages": [{"role": "USER", "content": "hi [[tokens=200 delay=0.5]]"}]}
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
    for _ in range(99):  # the turn is the hundredth
        started = await circle.graphql(start, {"i": completion | {"idempotencyKey": str(uuid.uuid4())}})
        assert started["data"]["startCompletion"]["stream"]["id"]
    heard = await turn(circle, agent_id, "tokens=3 delay=0")
    assert heard[-1]["outcome"] == "COMPLETED"
    assert text_of(heard) == "tok0 tok1 tok2"
