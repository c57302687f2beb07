"""A mutation that is repeated with its idempotency key at another replica, or after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.embedded.faults import Fault
from tests.support.redis_server import redis_server
from tests.support.stack import Stack, embedded_stack, replica_of

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(30)]

CREATE = """mutation($agent: ID!, $key: String) {
  createConversation(input: { agentId: $agent, idempotencyKey: $key }) { conversationEdge { node { id } } }
}"""
CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi [[tokens=3 delay=0]]"}]}


async def created(stack: Stack, agent_id: str, key: str) -> str:
    answer = await stack.graphql(CREATE, {"agent": agent_id, "key": key})
    assert "errors" not in answer, answer
    return str(answer["data"]["createConversation"]["conversationEdge"]["node"]["id"])


async def refused(stack: Stack, agent_id: str, key: str) -> dict[str, Any]:
    answer = await stack.graphql(CREATE, {"agent": agent_id, "key": key})
    found: dict[str, Any] = answer["errors"][0]["extensions"]
    return found


def conversations(stack: Stack) -> int:
    return sum(call.startswith("POST /v1/conversations/?") for call in stack.calls("letta"))


async def test_a_mutation_is_executed_once_on_all_replicas_and_after_a_restart(redis_url: str) -> None:
    async with embedded_stack(redis_url=redis_url) as stack:
        agent_id = await stack.make_agent()
        async with replica_of(stack) as other:
            asked = [created(one, agent_id, "k") for one in (stack, other) * 5]
            [first] = set(await asyncio.gather(*asked))
            assert (await refused(other, await stack.make_agent(), "k"))["reason"] == "KEY_REUSED"
        async with replica_of(stack) as restarted:
            assert await created(restarted, agent_id, "k") == first
            assert await created(restarted, agent_id, "other") != first
        assert conversations(stack) == 2


async def test_an_unknown_outcome_is_searched_for_by_another_replica(redis_url: str) -> None:
    async with embedded_stack(redis_url=redis_url) as stack, replica_of(stack) as other:
        agent_id = await stack.make_agent()
        stack.platform.faults["letta"] = Fault(cut_after=10, path="/v1/conversations/")
        assert (await refused(stack, agent_id, "k"))["reason"] == "OUTCOME_UNKNOWN"
        del stack.platform.faults["letta"]
        assert await created(other, agent_id, "k") == await created(stack, agent_id, "k")
        assert conversations(stack) == 1


async def test_an_openai_client_gets_the_first_answer_from_another_replica(redis_url: str) -> None:
    async with embedded_stack(redis_url=redis_url) as stack, replica_of(stack) as other:
        headers = stack.headers() | {"idempotency-key": "k"}
        answers = [await one.client.post(CHAT, json=BODY, headers=headers) for one in (stack, other, other)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert len({answer.content for answer in answers}) == 1
        assert len({answer.headers["x-litellm-call-id"] for answer in answers}) == 1
        assert stack.calls("litellm").count(f"POST {CHAT}") == 1


async def test_mutations_succeed_while_redis_is_down() -> None:
    with redis_server() as redis:
        async with embedded_stack(redis_url=redis.url()) as stack:
            agent_id = await stack.make_agent()
            await created(stack, agent_id, "a")
            redis.pause()
            first = await created(stack, agent_id, "b")
            assert await created(stack, agent_id, "b") == first
            assert conversations(stack) == 2
