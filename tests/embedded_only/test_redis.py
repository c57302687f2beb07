from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.redis_server import RedisServer, redis_server
from tests.support.stack import Stack, embedded_stack, until
from tests.support.tcp import hang, listening

CREATE = """mutation($agent: ID!, $key: String) {
  createConversation(input: { agentId: $agent, idempotencyKey: $key }) { conversationEdge { node { id } } }
}"""


async def status(stack: Stack) -> str:
    return str((await stack.client.get("/health")).json()["services"]["redis"]["status"])


async def shared(stack: Stack) -> dict[str, Any]:
    answer = await stack.graphql("{ platform { sharedState { kind status note } } }")
    found: dict[str, Any] = answer["data"]["platform"]["sharedState"]
    return found


@pytest.mark.needs_redis
async def test_health_follows_a_stop_and_a_restart_of_redis() -> None:
    with redis_server() as redis:
        async with embedded_stack(redis_url=redis.url()) as stack:
            assert await status(stack) == "ok"
            assert await shared(stack) == {"kind": "REDIS", "status": "OK", "note": None}
            redis.stop()
            assert await status(stack) == "down"
            assert (await stack.client.get("/health")).json()["status"] == "degraded"
            found = await shared(stack)
            assert (found["status"], found["note"][-18:]) == ("DOWN", "Cause: connection.")
            redis.start()
            await until(lambda: _is_ok(stack))
            assert (await shared(stack))["status"] == "OK"


async def _is_ok(stack: Stack) -> bool:
    return await status(stack) == "ok"


async def test_without_redis_the_state_is_in_memory(stack: Stack) -> None:
    assert await shared(stack) == {"kind": "MEMORY", "status": "OK", "note": None}


@pytest.mark.needs_redis
async def test_a_redis_that_closes_idle_connections_is_ok(redis_url: str, shared_redis: RedisServer) -> None:
    async with embedded_stack(redis_url=redis_url) as stack:
        for _ in range(3):
            assert await status(stack) == "ok"
            shared_redis.run("CLIENT", "KILL", "TYPE", "normal")
            await until(lambda: _is_ok(stack))


@pytest.mark.needs_redis
async def test_a_redis_without_memory_is_degraded_and_recovers() -> None:
    with redis_server() as redis:
        async with embedded_stack(redis_url=redis.url()) as stack:
            assert await status(stack) == "ok"
            redis.run("CONFIG", "SET", "maxmemory", "1")
            assert await status(stack) == "down"
            found = await shared(stack)
            assert (found["status"], found["note"][-12:]) == ("DEGRADED", "Cause: full.")
            redis.run("CONFIG", "SET", "maxmemory", "0")
            assert await status(stack) == "ok"
            assert (await shared(stack))["status"] == "OK"


@pytest.mark.needs_redis
async def test_the_documented_permissions_suffice(shared_redis: RedisServer) -> None:
    """The user's permissions are in docs/state.md."""
    shared_redis.run("ACL", "SETUSER", "gateway", "on", ">pw", "~agentgraph:*", "&agentgraph:*", "+@all", "-@dangerous")
    async with embedded_stack(redis_url=shared_redis.url().replace("//", "//gateway:pw@")) as stack:
        agent_id = await stack.make_agent()
        await asyncio.gather(*(stack.graphql(CREATE, {"agent": agent_id, "key": "k"}) for _ in range(2)))
        assert await shared(stack) == {"kind": "REDIS", "status": "OK", "note": None}
        metrics = (await stack.client.get("/metrics")).text
        assert 'agentgraph_state{agentgraph_state="ok"} 1.0' in metrics
        assert "agentgraph_state_failures_total{" not in metrics


async def test_a_redis_that_hangs_is_down() -> None:
    async with (
        listening(hang) as port,
        embedded_stack(redis_url=f"redis://127.0.0.1:{port}/0") as stack,
        asyncio.timeout(4),
    ):
        assert await status(stack) == "down"
