"""Circuit breakers that several gateways share in Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import httpx
import pytest

from app.embedded.faults import Fault
from app.embedded.server import LoopbackServer
from tests.support.redis_server import redis_server
from tests.support.stack import GRACE, Stack, embedded_stack, replica_of, until

pytestmark = [pytest.mark.needs_redis, pytest.mark.timeout(30)]

MODELS = "/v1/models"
LONG: dict[str, Any] = {"upstream_retry_percent": 0, "breaker_reset_seconds": 60}
SHORT = LONG | {"breaker_reset_seconds": 0.3}
FAILING = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "[[error=500]]"}]}


async def outcome(stack: Stack, user: str = GRACE) -> str:
    """Ask for LiteLLM's models. Return the error's code, or ``ok``."""
    answer = await stack.client.get(MODELS, headers=stack.headers(user))
    return "ok" if answer.status_code == 200 else str(answer.json()["error"]["code"])


async def has(stack: Stack, state: str) -> bool:
    """Return whether LiteLLM's breaker has a state."""
    return bool((await stack.client.get("/health")).json()["services"]["litellm"]["breaker"] == state)


async def find_dead(stack: Stack) -> None:
    """Let a replica find out that LiteLLM is dead."""
    assert [await outcome(stack) for _ in range(5)] == ["connect"] * 5


async def revive(stack: Stack) -> None:
    """Start LiteLLM again, at the same address."""
    port = httpx.URL(stack.servers["litellm"].url).port
    assert port is not None
    stack.servers["litellm"] = LoopbackServer(stack.platform.service("litellm"), port)
    await stack.servers["litellm"].start()


def calls(stack: Stack) -> int:
    return len(stack.calls("litellm"))


async def test_a_replica_refuses_calls_to_a_service_that_another_replica_found_down(redis_url: str) -> None:
    async with embedded_stack(redis_url=redis_url, **LONG) as stack, replica_of(stack) as other:
        await stack.servers["litellm"].stop()
        await find_dead(stack)
        await until(partial(has, other, "open"))
        await revive(stack)  # only a refused call makes no call now
        answer = await other.client.get(MODELS, headers=other.headers(GRACE))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "breaker_open")
        assert 50 < int(answer.headers["retry-after"]) <= 60
        async with replica_of(stack) as restarted:
            assert await outcome(restarted) == "breaker_open"
        assert MODELS not in str(stack.calls("litellm"))


async def test_a_model_that_fails_for_a_user_is_refused_at_each_replica(redis_url: str) -> None:
    async with embedded_stack(redis_url=redis_url, **LONG) as stack, replica_of(stack) as other:

        async def chat(gateway: Stack) -> int:
            path, headers = "/v1/chat/completions", gateway.headers(GRACE)
            return (await gateway.client.post(path, json=FAILING, headers=headers)).status_code

        assert [await chat(stack) for _ in range(6)] == [502] * 5 + [503]
        before = calls(stack)

        async def is_refused() -> bool:
            parts = (await other.client.get("/health")).json()["services"]["litellm"]["breakers"]
            return [(one["part"], one["callers"]) for one in parts] == [("model:gpt-4.1", 1)]

        await until(is_refused)
        assert await chat(other) == 503
        assert stack.calls("litellm")[before:].count("POST /v1/chat/completions") == 0
        assert GRACE not in (await other.client.get("/metrics")).text


async def test_one_of_all_replicas_makes_the_trial_call_and_all_recover(redis_url: str) -> None:
    async with embedded_stack(redis_url=redis_url, **SHORT) as stack, replica_of(stack) as other:
        await stack.servers["litellm"].stop()
        await find_dead(stack)
        await revive(stack)
        stack.platform.faults["litellm"] = Fault(latency=0.2, path=MODELS)
        for gateway in (stack, other):
            await until(partial(has, gateway, "half-open"))
            metrics = (await gateway.client.get("/metrics")).text
            assert 'agentgraph_breaker{agentgraph_breaker="half-open",service="litellm"} 1.0' in metrics
            assert 'agentgraph_breaker{agentgraph_breaker="open",service="litellm"} 0.0' in metrics
        outcomes = Counter(await asyncio.gather(*(outcome(gateway) for gateway in [stack, other] * 5)))
        assert outcomes == {"ok": 1, "breaker_open": 9}
        stack.platform.faults.clear()
        for gateway in (stack, other):
            await until(partial(has, gateway, "closed"))
            assert await outcome(gateway) == "ok"


async def test_breakers_are_separate_while_redis_is_down_and_shared_again_afterwards() -> None:
    with redis_server() as redis:
        async with embedded_stack(redis_url=redis.url(), **LONG) as stack, replica_of(stack) as other:
            assert await outcome(other) == "ok"
            redis.kill()
            await stack.servers["litellm"].stop()
            await find_dead(stack)
            assert await outcome(other) == "connect"
            redis.start()
            await until(partial(has, other, "open"))
            await revive(stack)
            assert [await outcome(gateway) for gateway in (stack, other)] == ["breaker_open"] * 2
