"""After each mutation and each stream, gateways with a cache answer like a gateway without one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from resolvers.cache.changes import CHANGES
from tests.support import things
from tests.support.agentfiles import agent_file, as_admin, created, publish, second_version
from tests.support.cached import clocked
from tests.support.documents import COMPLETION, CREATE_CONVERSATION, MESSAGE
from tests.support.doors import DOORS, events
from tests.support.schema import SCHEMA
from tests.support.stack import Stack, embedded_stack, replica_of
from tests.support.streaming import completion, message_input

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(120)]

EVERYTHING = """{ templates(first: 50) { nodes { id } }
  models { name cachedInputUsdPerMillionTokens }
  viewer { name budget { spendUsd }
    agents(first: 3) { totalCount nodes { id version name description tags modelName template { id latestVersion }
      memoryBlocks { id value } tools { id }
      conversations(first: 5) { nodes { id summary } } } } } }"""
"""Reads, together with ``ONE``, records of all kinds."""

ONE = """query($a: ID!) { template(id: "template:greeter") { latestVersion versions } agent(id: $a) { id version name
  messages(last: 20) { nodes { id } } conversations(first: 9) { nodes { id messages(last: 9) { nodes { id } } } } } }"""


@asynccontextmanager
async def gateways(redis_url: str) -> AsyncIterator[tuple[Stack, Stack, Stack]]:
    """Run two replicas whose records stay fresh, and a gateway without a cache."""
    settings = {"rate_limit_general": 0, "rate_limit_llm": 0, "max_query_cost": 1_000_000}
    async with AsyncExitStack() as stack:
        with clocked():
            first = await stack.enter_async_context(embedded_stack(redis_url=redis_url, **settings))
            second = await stack.enter_async_context(replica_of(first))
        yield first, second, await stack.enter_async_context(replica_of(first, cache="off", redis_url=None))


async def answers(stack: Stack, agent_id: str) -> list[Any]:
    return [(await stack.graphql(query, {"a": agent_id}))["data"] for query in (ONE, EVERYTHING)]


async def agree(stacks: tuple[Stack, ...], agent_id: str, after: str) -> None:
    first, second, plain = [await answers(one, agent_id) for one in stacks]
    assert first == plain, after
    assert second == plain, after


async def done(stack: Stack, mutation: str, **given: Any) -> None:
    """Run a mutation, which must succeed."""
    assert SCHEMA.mutation_type is not None
    kind = SCHEMA.mutation_type.fields[mutation].args["input"].type
    query = f"mutation($i: {kind}) {{ {mutation}(input: $i) {{ errors {{ message }} }} }}"
    answer = await as_admin(stack, query, {"i": given})
    assert answer == {"data": {mutation: {"errors": []}}}, answer


async def node_of(stack: Stack, agent_id: str, field: str) -> str:
    """Return the id of the first object in a list of an agent."""
    answer = await stack.graphql(f"query($a: ID!) {{ agent(id: $a) {{ {field} {{ id }} }} }}", {"a": agent_id})
    return str(answer["data"]["agent"][field][0]["id"])


async def conversation(stack: Stack, agent_id: str) -> str:
    made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
    return str(made["conversation"]["id"])


async def approval(stack: Stack, agent_id: str) -> str:
    await stack.require_approval(agent_id, "memory_insert")
    await things.sent(stack, "tokens=2 tool=memory_insert approve=1", agent_id=agent_id)
    query = "query($a: ID!) { agent(id: $a) { messages(last: 5) { nodes { __typename id } } } }"
    nodes = (await stack.graphql(query, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"]
    return next(str(node["id"]) for node in nodes if node["__typename"] == "ApprovalRequestMessage")


async def running_turn(stack: Stack, agent_id: str) -> dict[str, Any]:
    content = [{"text": "hi [[tokens=500 delay=0.05]]"}]
    asked = {"to": {"agentId": agent_id}, "content": content, "idempotencyKey": str(uuid.uuid4())}
    return await things.done(stack, things.SEND, {"i": asked})


async def running_completion(stack: Stack) -> str:
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } errors { message } } }"
    asked = completion(stack, "tokens=500 delay=0.05", idempotencyKey=str(uuid.uuid4()))
    return str((await things.done(stack, start, {"i": asked}))["stream"]["id"])


async def mutations(stack: Stack, agent_id: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield all mutations with their inputs. The caller runs each mutation."""
    key, said = str(uuid.uuid4()), completion(stack, "tokens=5 delay=0", idempotencyKey=str(uuid.uuid4()))
    message = {"content": [{"text": "hi [[tokens=5 delay=0]]"}], "idempotencyKey": key, "waitSeconds": 20}
    yield "publishTemplate", {"source": second_version(stack)}
    yield "createAgent", {"templateId": "template:greeter", "variables": {"company": "Sea"}, "idempotencyKey": "k"}
    yield "upgradeAgent", {"agentId": agent_id, "idempotencyKey": key}
    yield "updateAgent", {"agentId": agent_id, "description": key, "name": key, "tags": [key]}
    yield "updateMemoryBlock", {"blockId": await node_of(stack, agent_id, "memoryBlocks"), "value": key}
    yield "createConversation", {"agentId": agent_id, "summary": key}
    one, other = [await conversation(stack, agent_id) for _ in range(2)]
    yield "updateConversation", {"conversationId": one, "summary": key}
    yield "sendMessage", {"to": {"conversationId": one}, **message}
    yield "forkConversation", {"conversationId": one}
    yield "deleteConversation", {"conversationId": other}
    yield "respondToApproval", {"requestId": await approval(stack, agent_id), "decision": "DENY"}
    yield "complete", said
    yield "embed", {"model": stack.embedding_model, "inputs": ["a text"]}
    yield "insertPassage", {"agentId": agent_id, "text": key}
    yield "deletePassage", {"passageId": (await things.passages(stack, agent_id, "kept"))[0]}
    yield "revokeSession", {"sessionId": str(uuid.uuid4())}
    yield "deleteAgent", {"agentId": await created(stack, "second")}
    yield "cancelRun", {"runId": (await running_turn(stack, agent_id))["run"]["id"]}
    yield "startCompletion", {**said, "idempotencyKey": str(uuid.uuid4())}
    yield "cancelStream", {"streamId": await running_completion(stack)}


async def test_all_replicas_answer_like_a_gateway_without_a_cache_after_each_mutation(patient_redis: str) -> None:
    async with gateways(patient_redis) as stacks:
        await stacks[0].own_key()
        await publish(stacks[0], agent_file(stacks[0]))
        agent_id = await created(stacks[0], "first")
        seen: set[str] = set()
        async for mutation, given in mutations(stacks[0], agent_id):
            for one in stacks[:2]:
                await answers(one, agent_id)
            await done(stacks[len(seen) % 2], mutation, **given)
            await agree(stacks, agent_id, mutation)
            seen.add(mutation)
        assert seen == CHANGES.keys()


async def test_all_replicas_answer_like_a_gateway_without_a_cache_after_each_stream(patient_redis: str) -> None:
    async with gateways(patient_redis) as stacks:
        await stacks[0].own_key()
        agent_id = await stacks[0].make_agent()
        turn = message_input(agent_id, "tokens=3 delay=0 tool=memory_insert")
        said = completion(stacks[0], "tokens=3 delay=0")
        for number, (document, given) in enumerate([(MESSAGE, turn), (COMPLETION, said)] * 2):
            for one in stacks[:2]:
                await answers(one, agent_id)
            variables = {"i": given, "k": str(uuid.uuid4())}
            async with aclosing(events(stacks[number % 2], DOORS[number % len(DOORS)], document, variables)) as stream:
                async for event in stream:
                    if event["__typename"] == "StreamEnded":
                        await agree(stacks, agent_id, document)
