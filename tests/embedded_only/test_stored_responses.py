"""Stored responses: who can read, continue and delete them, and models whose providers store nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from app.embedded.litellm.keys import make_key
from app.embedded.people import ADA, GRACE
from app.embedded.seed import CHAT_ONLY
from tests.support.openai import ask, sdk_client
from tests.support.stack import Stack, replica_of, until
from tests.support.streaming import upstream_closed

PLATFORMS_KEY = "sk-test-of-the-platform"
STREAM = pytest.mark.parametrize("stream", [False, True])


def asking(stack: Stack, text: str, **more: Any) -> dict[str, Any]:
    return {"model": stack.chat_model, "input": text, **more}


async def created(stack: Stack, text: str = "hi", **more: Any) -> dict[str, Any]:
    answer = await ask(stack, "/v1/responses", asking(stack, text, **more))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def calls(stack: Stack) -> list[str]:
    """Return the calls to LiteLLM, without the ids."""
    return [call.split("/resp_")[0] for call in stack.calls("litellm")]


async def at(stack: Stack, method: str, response_id: str, rest: str = "", user: str = ADA) -> httpx.Response:
    return await stack.client.request(method, f"/v1/responses/{response_id}{rest}", headers=stack.headers(user))


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as client:
        yield client


async def test_an_sdk_reads_lists_and_deletes(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    made = await sdk.responses.create(**asking(stack, "hi [[tokens=3 delay=0]]"))
    read = await sdk.responses.retrieve(made.id)
    assert (read.id, read.output_text) == (made.id, "tok0 tok1 tok2")
    items = [item async for item in await sdk.responses.input_items.list(made.id, limit=1)]
    assert len(items) == 1
    await sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.responses.retrieve(made.id)
    assert caught.value.code == "response_not_found"


@STREAM
async def test_a_response_is_continued_with_its_history(stack: Stack, sdk: openai.AsyncOpenAI, stream: bool) -> None:
    first = await sdk.responses.create(**asking(stack, "one two three [[tokens=1 delay=0]]"))
    body = asking(stack, "hi [[tokens=1 delay=0]]", previous_response_id=first.id)
    if stream:
        async with sdk.responses.stream(**body) as following:
            second = await following.get_final_response()
    else:
        second = await sdk.responses.create(**body)
    assert second.previous_response_id == first.id
    alone = await sdk.responses.create(**asking(stack, "hi [[tokens=1 delay=0]]"))
    assert second.usage is not None
    assert alone.usage is not None
    assert second.usage.input_tokens > alone.usage.input_tokens
    third = await sdk.responses.create(**asking(stack, "x [[tokens=1 delay=0]]", previous_response_id=second.id))
    assert third.usage is not None
    assert third.usage.input_tokens > second.usage.input_tokens


async def test_each_previous_response_is_read_before_it_is_continued(stack: Stack) -> None:
    previous = (await created(stack))["id"]
    async with replica_of(stack) as gateway:
        before = len(calls(gateway))
        for _ in range(2):
            await created(gateway, previous_response_id=previous)
        assert calls(gateway)[before:] == ["GET /v1/responses", "POST /v1/responses"] * 2


async def test_another_users_response_is_as_one_that_does_not_exist(stack: Stack) -> None:
    """Both users have the platform's key, so that LiteLLM itself would give each the other's responses."""
    make_key(stack.platform.state, PLATFORMS_KEY, max_budget=5.0, user_id="platform")
    async with replica_of(stack, litellm_api_key=PLATFORMS_KEY) as gateway:
        users = gateway.platform.state.users
        users[ADA].litellm_key = users[GRACE].litellm_key = None
        made = (await created(gateway))["id"]
        assert (await at(gateway, "GET", made)).status_code == 200
        unknown = made[:-1] + ("A" if made[-1] != "A" else "B")
        for method, rest in (("GET", ""), ("GET", "/input_items"), ("DELETE", "")):
            theirs = await at(gateway, method, made, rest, GRACE)
            missing = await at(gateway, method, unknown, rest, GRACE)
            assert (theirs.status_code, theirs.content) == (404, missing.content)
        headers = gateway.headers(GRACE)
        body = asking(gateway, "hi", previous_response_id=made)
        refused = await gateway.client.post("/v1/responses", json=body, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")
        assert (await at(gateway, "GET", made)).status_code == 200


async def test_a_response_that_was_not_stored_is_not_continued(stack: Stack) -> None:
    made = (await created(stack, store=False))["id"]
    async with replica_of(stack) as gateway:
        refused = await ask(gateway, "/v1/responses", asking(stack, "hi", previous_response_id=made))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")
        assert (await at(gateway, "GET", made)).status_code == 404


async def test_a_response_is_continued_only_with_its_model(stack: Stack) -> None:
    made = (await created(stack))["id"]
    refused = await ask(stack, "/v1/responses", asking(stack, "hi", previous_response_id=made, model="gpt-4.1"))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "previous_response_not_found")
    assert stack.chat_model in error["message"]


@STREAM
async def test_a_model_without_the_api_is_asked_for_a_completion(stack: Stack, stream: bool) -> None:
    async with replica_of(stack) as gateway:
        before = len(calls(gateway))
        for _ in range(2):
            body = asking(gateway, "hi [[tokens=2 delay=0]]", model=CHAT_ONLY, stream=stream)
            answer = await ask(gateway, "/v1/responses", body)
            assert (answer.status_code, "tok0 tok1" in answer.text) == (200, True)
        assert calls(gateway)[before:] == ["POST /v1/responses"] * 3


@STREAM
async def test_the_history_of_a_model_that_stores_nothing_is_refused_and_not_forgotten(
    stack: Stack, stream: bool
) -> None:
    for known in (False, True):
        async with replica_of(stack) as gateway:
            made = (await created(gateway if known else stack, model=CHAT_ONLY))["id"]
            before = len(calls(gateway))
            body = asking(gateway, "hi", previous_response_id=made, model=CHAT_ONLY, stream=stream)
            refused = await ask(gateway, "/v1/responses", body)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (400, "previous_response_not_found")
            assert "`input`" in error["message"]
            assert calls(gateway)[before:] == ["GET /v1/responses"]
            assert (await at(gateway, "GET", made)).status_code == 404


async def test_unknown_query_parameters_are_refused(stack: Stack) -> None:
    made = (await created(stack))["id"]
    for rest in ("?stream=true", "/input_items?api_base=x", f"/input_items?after={'x' * 201}"):
        refused = await at(stack, "GET", made, rest)
        assert refused.status_code == 400, rest
    assert (await at(stack, "DELETE", made, "?x=1")).status_code == 400
    assert (await at(stack, "GET", made)).status_code == 200


async def test_a_response_is_read_with_a_general_limit_and_created_with_a_models(stack: Stack) -> None:
    async with replica_of(stack, rate_limit_llm=1) as gateway:
        made = (await created(gateway))["id"]
        assert (await at(gateway, "GET", made)).status_code == 200
        refused = await ask(gateway, "/v1/responses", asking(gateway, "hi"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")


@STREAM
async def test_a_repeated_request_gets_its_answer_after_the_previous_response_was_deleted(
    stack: Stack, stream: bool
) -> None:
    first = (await ask(stack, "/v1/responses", {"model": stack.chat_model, "input": "a [[tokens=1]]"})).json()["id"]
    body: dict[str, Any] = {
        "model": stack.chat_model,
        "input": "b [[tokens=1]]",
        "previous_response_id": first,
        "stream": stream,
    }
    key = str(uuid.uuid4())
    answer = await ask(stack, "/v1/responses", body, **{"idempotency-key": key})
    assert answer.status_code == 200, answer.text
    deleted = await stack.client.delete(f"/v1/responses/{first}", headers=stack.headers(ADA))
    assert deleted.status_code == 200
    repeated = await ask(stack, "/v1/responses", body, **{"idempotency-key": key})
    assert (repeated.status_code, repeated.text) == (200, answer.text)


async def test_an_unknown_model_costs_one_call(stack: Stack) -> None:
    before = len(stack.calls("litellm"))
    refused = await ask(stack, "/v1/responses", {"model": "nope-twice", "input": "hi"})
    assert refused.status_code == 404
    assert len(stack.calls("litellm")) == before + 1


@STREAM
async def test_disconnecting_during_the_bridged_request_closes_the_models_stream(stack: Stack, stream: bool) -> None:
    async with replica_of(stack) as gateway:
        before = await gateway.model_stats()
        body: dict[str, Any] = {"model": CHAT_ONLY, "input": "hi [[tokens=50 first=30]]", "stream": stream}
        asked = asyncio.create_task(ask(gateway, "/v1/responses", body))

        async def talking() -> bool:
            return (await gateway.model_stats())["total"] == before["total"] + 1

        await until(talking)
        asked.cancel()
        await upstream_closed(gateway, before)
