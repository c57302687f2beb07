"""Slots: one user, one address, or all clients without a token cannot use the slots of others."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from typing import Any

import httpx
import orjson
import pytest

from app.embedded.people import ADA, GRACE
from tests.support.attack import Target

REQUESTS, STREAMS = 16, 8
SHARE, STREAM_SHARE = REQUESTS // 4, STREAMS // 4
STRANGERS, STRANGER_SHARE = SHARE, SHARE // 4
SETTINGS = {"MAX_CONCURRENT_REQUESTS": str(REQUESTS), "MAX_CONCURRENT_STREAMS": str(STREAMS), "RATE_LIMIT_LLM": "0"}

VIEWER = {"query": "{ viewer { id } }"}
COMPLETION = "subscription($i: CompletionInput!, $k: ID!) { completion(input: $i, streamKey: $k) { cursor } }"
EMBED = 'mutation { embed(input: {model: "text-embedding-3-small", inputs: ["hi"]}) { usage { totalTokens } } }'
WAITS = "hi [[tokens=100000 delay=0.5]]"

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@asynccontextmanager
async def slow_body(target: Target, *headers: str) -> AsyncIterator[None]:
    """Open a request without its body. It has its slot once the server has asked for the body."""
    reader, writer = await asyncio.open_connection(*target.address)
    fields = ("host: x", "content-type: application/json", "content-length: 9", "expect: 100-continue", *headers)
    writer.write("\r\n".join(("POST /graphql HTTP/1.1", *fields, "", "")).encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    try:
        yield
    finally:
        writer.close()


def bearer(target: Target, user_id: str) -> str:
    return f"authorization: Bearer {target.token(user_id)}"


async def asked(target: Target, user_id: str | None, body: dict[str, Any] = VIEWER) -> tuple[int, str | None]:
    """Return the status of a request, and the reason of its error."""
    async with target.client(user_id) as client:
        return seen(await client.post("/graphql", json=body))


def seen(answer: httpx.Response) -> tuple[int, str | None]:
    errors = answer.json().get("errors", [{"extensions": {}}])
    return answer.status_code, errors[0]["extensions"].get("reason")


async def until_free(target: Target, user_id: str | None, body: dict[str, Any] = VIEWER) -> None:
    """Wait until a request is admitted again, which is when the server has noticed that the others disconnected."""
    async with target.client(user_id) as client:
        while (await client.post("/graphql", json=body)).status_code != 200:
            await asyncio.sleep(0.01)


@pytest.mark.bound("user-requests")
async def test_a_user_cannot_take_more_than_a_share_of_the_slots(target: Target) -> None:
    async with target.bystander(), AsyncExitStack() as held:
        for number in range(SHARE):
            assert await asked(target, ADA) == (200, None), number
            await held.enter_async_context(slow_body(target, bearer(target, ADA)))
        for _ in range(5):
            assert await asked(target, ADA) == (429, "REQUESTS")
    await until_free(target, ADA)


@pytest.mark.bound("requests")
async def test_a_new_request_is_refused_if_users_hold_all_slots(target: Target) -> None:
    async with AsyncExitStack() as held:
        for user_id in (str(uuid.uuid4()) for _ in range(REQUESTS // SHARE)):
            assert await asked(target, GRACE) == (200, None)
            for _ in range(SHARE):
                await held.enter_async_context(slow_body(target, bearer(target, user_id)))
        assert await asked(target, GRACE) == (503, "REQUESTS")
        async with target.client(None) as client:
            assert (await client.get("/ping")).status_code == 200
            assert (await client.get("/health")).status_code == 200
    await until_free(target, GRACE)


@pytest.mark.bound("anonymous-requests")
async def test_anonymous_clients_have_their_own_slots_and_shares(target: Target) -> None:
    schema = {"query": "{ __typename }"}
    async with target.bystander(), AsyncExitStack() as held:
        for number in range(STRANGERS // STRANGER_SHARE):
            address = f"x-forwarded-for: 203.0.113.{number}"
            assert await asked(target, None, schema) == (200, None)
            await held.enter_async_context(slow_body(target, address))
            headers = {"x-forwarded-for": f"203.0.113.{number}"}
            async with target.client(None) as client:
                assert seen(await client.post("/graphql", json=schema, headers=headers)) == (429, "REQUESTS")
        assert await asked(target, None, schema) == (503, "REQUESTS")
        assert await asked(target, ADA) == (200, None)
    await until_free(target, None, schema)


def completion() -> dict[str, Any]:
    given = {"model": "gpt-4o-mini", "messages": [{"role": "USER", "content": WAITS}]}
    return {"query": COMPLETION, "variables": {"i": given, "k": str(uuid.uuid4())}}


@asynccontextmanager
async def subscribed(client: httpx.AsyncClient) -> AsyncIterator[tuple[int, str | None]]:
    """Open a subscription. Yield its status, and the reason if it was refused."""
    headers = {"accept": "text/event-stream"}
    async with client.stream("POST", "/graphql", json=completion(), headers=headers) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                errors = orjson.loads(line.removeprefix("data: ")).get("errors")
                yield answer.status_code, errors[0]["extensions"].get("reason") if errors else None
                return


@pytest.mark.bound("user-streams")
async def test_streams_are_counted_apart_from_requests_and_by_user(target: Target) -> None:
    async with target.bystander(), target.client() as client, AsyncExitStack() as held:
        for _ in range(STREAM_SHARE):
            assert await held.enter_async_context(subscribed(client)) == (200, None)
        for _ in range(3):
            assert await held.enter_async_context(subscribed(client)) == (200, "STREAMS")
        assert await asked(target, ADA) == (200, None)
        async with target.socket() as socket:
            await socket.subscribe(**completion())
            told = await socket.hear()
        assert (told["type"], told["payload"][0]["extensions"]["reason"]) == ("error", "STREAMS")


async def test_requests_that_wait_for_a_model_are_counted_as_streams(target: Target) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi [[error=hang]]"}]}
    async with target.bystander(), target.client() as client, AsyncExitStack() as held:
        waiting = {asyncio.create_task(client.post("/v1/chat/completions", json=body)) for _ in range(STREAM_SHARE + 1)}
        for task in waiting:
            held.callback(task.cancel)
        refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        [answer] = (task.result() for task in refused)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "streams")
        assert await asked(target, ADA, {"query": EMBED}) == (200, "STREAMS")
        assert await asked(target, ADA) == (200, None)
        assert len(waiting) == STREAM_SHARE


async def test_a_body_is_not_read_before_its_sender_is_authenticated(target: Target) -> None:
    head = "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\nexpect: 100-continue\r\n{}\r\n"
    paths = ("/graphql", "/v1/chat/completions", f"/api/v1/agents/{ADA}/proxy/chat/completions")
    async with target.bystander():
        for path, authorization in product(paths, ("authorization: Bearer no\r\n", f"{bearer(target, ADA)}x\r\n")):
            reader, writer = await asyncio.open_connection(*target.address)
            writer.write(head.format(path, authorization).encode())
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
            writer.close()


async def test_a_flood_of_one_user_refuses_no_other(target: Target) -> None:
    query = {"query": "{ viewer { agents { nodes { id name messages(last: 20) { nodes { id text } } } } } }"}
    async with target.bystander(), target.client() as client:
        answers = await asyncio.gather(*(client.post("/graphql", json=query) for _ in range(REQUESTS * 8)))
    statuses = {one.status_code for one in answers}
    assert 200 in statuses
    assert 429 in statuses
