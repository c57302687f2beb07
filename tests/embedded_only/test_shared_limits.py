"""Rate limits that several gateways share in Redis."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from clients.state.names import COUNTERS
from tests.support.documents import COMPLETION, MESSAGE
from tests.support.packets import CountedRedis, counted_redis
from tests.support.redis_server import redis_server
from tests.support.stack import ADA, Stack, embedded_stack, opened_socket, until
from tests.support.streaming import completion, message_input

pytestmark = pytest.mark.needs_redis

EMAIL = "{ viewer { email } }"
TOKENS = "{ viewer { rateLimits { kind remaining } } }"
COMPLETE = "mutation($i: CompletionInput!) { complete(input: $i) { usage { totalTokens } errors { message } } }"


async def status(stack: Stack) -> int:
    return (await stack.client.post("/graphql", json={"query": EMAIL}, headers=stack.headers())).status_code


async def test_replicas_count_a_users_requests_together(redis_url: str) -> None:
    settings: dict[str, Any] = {"redis_url": redis_url, "rate_limit_general": 7}
    async with embedded_stack(**settings) as one, embedded_stack(**settings) as other:
        statuses = await asyncio.gather(*(status(stack) for stack in [one, other] * 10))
        assert sorted(statuses) == [200] * 7 + [429] * 13
        refused = await other.client.get("/v1/models", headers=one.headers())
        assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (429, "0")


async def test_replicas_count_a_users_tokens_together(redis_url: str) -> None:
    settings: dict[str, Any] = {"redis_url": redis_url, "llm_tokens_per_minute": 10_000}
    async with embedded_stack(**settings) as one, embedded_stack(**settings) as other:
        done = await one.graphql(COMPLETE, {"i": completion(one, "tokens=5 delay=0", idempotencyKey="a")})
        used = done["data"]["complete"]["usage"]["totalTokens"]
        limits = (await other.graphql(TOKENS))["data"]["viewer"]["rateLimits"]
        assert {one["kind"]: one["remaining"] for one in limits}["TOKENS"] == 10_000 - used


async def _query(stack: Stack, _: str) -> None:
    assert await status(stack) == 200


async def _over_a_socket(stack: Stack, _: str) -> None:
    async with opened_socket(stack) as socket:
        assert [answer async for answer in socket.events(EMAIL)]


async def _models(stack: Stack, _: str) -> None:
    assert (await stack.client.get("/v1/models", headers=stack.headers())).status_code == 200


async def _chat(stack: Stack, _: str) -> None:
    body = {"model": stack.chat_model, "messages": [{"role": "user", "content": "hi [[tokens=2 delay=0]]"}]}
    answer = await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers())
    assert answer.status_code == 200


async def _completion(stack: Stack, _: str) -> None:
    async with opened_socket(stack) as socket:
        variables = {"i": completion(stack, "tokens=2 delay=0"), "k": uuid.uuid4().hex}
        assert [event async for event in socket.events(COMPLETION, variables)][-1]["outcome"] == "COMPLETED"


async def _turn(stack: Stack, agent: str) -> None:
    async with opened_socket(stack) as socket:
        variables = {"i": message_input(agent), "k": uuid.uuid4().hex}
        assert [event async for event in socket.events(MESSAGE, variables)][-1]["outcome"] == "COMPLETED"


ROUND_TRIPS: list[tuple[Callable[[Stack, str], Awaitable[None]], int, int]] = [
    (_query, 1, 1),
    (_over_a_socket, 1, 1),
    (_models, 1, 1),
    (_chat, 1, 3),
    (_completion, 2, 4),
    (_turn, 2, 2),
]
"""Requests, and their round trips for limits: without a token limit, and with one.

The limit of model calls is known when a request has been parsed. Tokens are reserved before a model call, and corrected
after it.
"""


@pytest.mark.parametrize("has_tokens", [False, True], ids=["requests", "tokens"])
async def test_all_limits_that_apply_at_once_are_one_round_trip(redis_url: str, has_tokens: bool) -> None:
    key = COUNTERS.key(ADA)
    async with (
        counted_redis(redis_url) as redis,
        embedded_stack(redis_url=redis.url, llm_tokens_per_minute=100_000 if has_tokens else 0) as stack,
    ):
        agent = await stack.make_agent()
        await _query(stack, agent)  # now, Redis has the script
        for request, *round_trips in ROUND_TRIPS:
            redis.packets.clear()
            await request(stack, agent)
            expected = round_trips[has_tokens]
            await until(partial(_has_sent, redis, expected))
            assert redis.packets_with(key) == expected, request.__name__


def _has_sent(redis: CountedRedis, packets: int) -> bool:
    return redis.packets_with(COUNTERS.key(ADA)) >= packets


async def test_limits_continue_in_the_process_while_redis_hangs() -> None:
    with redis_server() as redis:
        async with embedded_stack(redis_url=redis.url(), rate_limit_general=5) as stack:
            assert [await status(stack) for _ in range(2)] == [200] * 2
            redis.pause()
            began = time.monotonic()
            assert [await status(stack) for _ in range(6)] == [200] * 3 + [429] * 3
            assert time.monotonic() - began < 2
            redis.kill()
            assert await status(stack) == 429
            redis.start()
            await until(lambda: _is_ok(stack))


async def _is_ok(stack: Stack) -> bool:
    return await status(stack) == 200
