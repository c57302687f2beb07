from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from app.auth import LEEWAY_SECONDS
from tests.support.stack import ADA, Stack, until


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=stack.token(), max_retries=0) as client:
        yield client


def asking(stack: Stack, directive: str) -> dict[str, Any]:
    return {"model": stack.chat_model, "messages": [{"role": "user", "content": f"hi [[{directive}]]"}]}


async def test_models_and_a_completion(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    models = [model.id async for model in await sdk.models.list()]
    assert stack.chat_model in models
    assert (await sdk.models.retrieve(stack.chat_model)).id == stack.chat_model
    whole = await sdk.chat.completions.create(**asking(stack, "tokens=3 delay=0"))
    assert whole.choices[0].message.content == "tok0 tok1 tok2"
    assert whole.usage is not None


async def test_the_first_chunk_comes_while_the_model_is_talking(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(**asking(stack, "tokens=12 delay=0.1"), stream=True)
    text, talking = "", None
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if text and talking is None:
            talking = (await stack.model_stats())["inflight"]
        assert chunk.usage is None
    assert talking == 1
    assert text == " ".join(f"tok{n}" for n in range(12))


async def test_usage_is_streamed_to_a_client_that_asked(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        **asking(stack, "tokens=2 delay=0"), stream=True, stream_options={"include_usage": True}
    )
    usages = [chunk.usage async for chunk in stream if chunk.usage is not None]
    assert [usage.completion_tokens for usage in usages] == [2]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tools_result_is_answered(stack: Stack, stream: bool) -> None:
    """The tool loops of both SDKs with several tools are in ``tests/embedded_only/test_tool_loops.py``."""
    parameters = {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]}
    tool = {"type": "function", "function": {"name": "roll", "parameters": parameters}}
    asked = asking(stack, "tool=roll tokens=2 delay=0") | {"tools": [tool]}
    first = await stack.client.post("/v1/chat/completions", json=asked, headers=stack.headers())
    [choice] = first.json()["choices"]
    [call] = choice["message"]["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "4"}
    asked |= {"messages": [*asked["messages"], choice["message"], result], "stream": stream}
    second = await stack.client.post("/v1/chat/completions", json=asked, headers=stack.headers())
    assert second.status_code == 200, second.text
    assert "tool_calls" not in second.text.replace('"tool_calls":null', "")
    assert second.text.count("tok1") == 1


async def test_a_bad_key_and_an_unknown_model(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await sdk.with_options(api_key="sk-nonsense").models.list()
    for stream in (False, True):
        asked = asking(stack, "tokens=1") | {"model": "nope", "stream": stream}
        with pytest.raises(openai.NotFoundError) as caught:
            await sdk.chat.completions.create(**asked)
        assert caught.value.code == "model_not_found"


async def test_a_run_of_calls_crosses_a_tokens_expiry(stack: Stack) -> None:
    # good for three seconds more, by the leeway
    given = [stack.token(ADA, lifetime_seconds=3 - LEEWAY_SECONDS)]

    async def provide() -> str:
        return given[-1]

    async def refused() -> bool:
        headers = {"authorization": f"Bearer {given[0]}"}
        return (await stack.client.get("/v1/models", headers=headers)).status_code == 401

    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=provide, max_retries=0) as client:
        before = await client.models.list()
        await until(refused)
        given.append(stack.token())
        assert (await client.models.list()).data == before.data
        assert (await client.chat.completions.create(**asking(stack, "tokens=1 delay=0"))).choices


async def test_leaving_a_stream_closes_the_upstream(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    before = await stack.model_stats()
    stream = await sdk.chat.completions.create(**asking(stack, "tokens=200 delay=0.05"), stream=True)
    await anext(aiter(stream))
    await stream.close()

    async def left() -> bool:
        now = await stack.model_stats()
        return now["disconnected"] == before["disconnected"] + 1 and now["inflight"] == before["inflight"]

    await until(left)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_before_the_answer_closes_the_upstream(stack: Stack, stream: bool) -> None:
    before = await stack.model_stats()
    body = asking(stack, "tokens=3 first=30") | {"stream": stream}
    asked = asyncio.create_task(stack.client.post("/v1/chat/completions", json=body, headers=stack.headers()))

    async def talking() -> bool:
        return (await stack.model_stats())["total"] == before["total"] + 1

    await until(talking)
    asked.cancel()

    async def left() -> bool:
        return (await stack.model_stats())["disconnected"] == before["disconnected"] + 1

    if stream or not stack.real:  # the real LiteLLM lets a whole completion run out, whoever has left
        await until(left)


async def test_a_cut_stream_is_one_error_and_no_done(stack: Stack) -> None:
    response = await stack.client.post(
        "/v1/chat/completions",
        json=asking(stack, "tokens=8 delay=0.05 error=cut") | {"stream": True},
        headers=stack.headers(),
    )
    events = [part for part in response.text.split("\n\n") if part]
    assert response.status_code == 200
    assert "[DONE]" not in response.text
    assert sum('"error"' in event for event in events) == 1
    assert events[-1].startswith('data: {"error"')


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[1]", 400),
        ('{"model": 1}', 400),
        ('{"model": "x", "messages": [], "stream": 1}', 400),
        ('{"model": "x", "messages": []}' + " " * 1_000_001, 413),
    ],
)
async def test_bodies_that_cannot_be_right(stack: Stack, body: str, status: int) -> None:
    response = await stack.client.post("/v1/chat/completions", content=body, headers=stack.headers())
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_an_address_that_does_not_exist(stack: Stack) -> None:
    for path in ("/v1/key/generate", "/v1/../key/generate", "/v1/chat/completions/"):
        response = await stack.client.post(path, json={}, headers=stack.headers())
        assert response.status_code == 404
    assert (await stack.client.get("/v1/chat/completions", headers=stack.headers())).status_code == 405


async def test_many_streams_side_by_side(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    async def one(tokens: int) -> str:
        stream = await sdk.chat.completions.create(**asking(stack, f"tokens={tokens} delay=0.005"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    texts = await asyncio.gather(*(one(n) for n in range(1, 21)))
    assert texts == [" ".join(f"tok{i}" for i in range(n)) for n in range(1, 21)]
