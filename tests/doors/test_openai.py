from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest

from app.signin.authenticator import LEEWAY_SECONDS
from tests.support.openai import ask, asking, sdk_client
from tests.support.proxy import cutting_proxy
from tests.support.stack import ADA, Stack, replica_of, until
from tests.support.streaming import expected, upstream_closed

HOLDING = (1, 110)
"""The first supported version of LiteLLM that notices a disconnect only when the model's first token arrives."""
PATHS = pytest.mark.parametrize("path", ["/v1/chat/completions", "proxy/chat/completions"])


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as client:
        yield client


async def test_an_sdk_lists_models_and_completes(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    models = [model.id async for model in await sdk.models.list()]
    assert stack.chat_model in models
    assert (await sdk.models.retrieve(stack.chat_model)).id == stack.chat_model
    whole = await sdk.chat.completions.create(**asking(stack, "tokens=3 delay=0"))
    assert whole.choices[0].message.content == "tok0 tok1 tok2"
    assert whole.usage is not None


async def test_usage_is_streamed_if_it_is_requested(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        **asking(stack, "tokens=2 delay=0"), stream=True, stream_options={"include_usage": True}
    )
    usages = [chunk.usage async for chunk in stream if chunk.usage is not None]
    assert [usage.completion_tokens for usage in usages] == [2]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_result_is_answered(stack: Stack, stream: bool) -> None:
    """``tests/embedded_only/test_tool_loops.py`` tests the loops of both SDKs with several tools."""
    parameters = {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]}
    tool = {"type": "function", "function": {"name": "roll", "parameters": parameters}}
    asked = asking(stack, "tool=roll tokens=2 delay=0", tools=[tool])
    first = await ask(stack, "/v1/chat/completions", asked)
    [choice] = first.json()["choices"]
    [call] = choice["message"]["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "4"}
    asked |= {"messages": [*asked["messages"], choice["message"], result], "stream": stream}
    second = await ask(stack, "/v1/chat/completions", asked)
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


async def test_a_client_continues_with_a_new_token_after_the_old_one_expires(stack: Stack) -> None:
    # valid for three more seconds, with the leeway
    given = [stack.token(ADA, lifetime_seconds=3 - LEEWAY_SECONDS)]

    async def provide() -> str:
        return given[-1]

    async def refused() -> bool:
        headers = {"authorization": f"Bearer {given[0]}"}
        return (await stack.client.get("/v1/models", headers=headers)).status_code == 401

    async with sdk_client(f"{stack.url}/v1", provide, max_retries=0) as client:
        before = await client.models.list()
        await until(refused)
        given.append(stack.token())
        assert (await client.models.list()).data == before.data
        assert (await client.chat.completions.create(**asking(stack, "tokens=1 delay=0"))).choices


@PATHS
@pytest.mark.parametrize("stream", [False, True])
async def test_disconnecting_before_the_answer_closes_the_call_at_once(stack: Stack, path: str, stream: bool) -> None:
    is_held = await stack.litellm_version() >= HOLDING
    async with cutting_proxy(stack.litellm_url) as proxy, replica_of(stack, litellm_base_url=proxy.url) as gateway:
        before = await stack.model_stats()
        directive = "tokens=400 delay=0.05 first=3" if is_held and stream else "tokens=3 first=30"
        asked = asyncio.create_task(ask(gateway, path, asking(stack, directive, stream=stream)))

        async def talking() -> bool:
            return (await stack.model_stats())["total"] == before["total"] + 1

        await until(talking)
        left = proxy.left
        asked.cancel()
        await until(lambda: proxy.left == left + 1)
        if is_held and stream:
            assert (await stack.model_stats())["disconnected"] == before["disconnected"]
        if stream or not stack.real:  # the real LiteLLM finishes whole completions after a disconnect
            await upstream_closed(stack, before)


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
async def test_invalid_bodies_are_refused(stack: Stack, body: str, status: int) -> None:
    response = await stack.client.post("/v1/chat/completions", content=body, headers=stack.headers())
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_unknown_addresses_are_404(stack: Stack) -> None:
    for path in ("/v1/key/generate", "/v1/../key/generate", "/v1/chat/completions/"):
        response = await stack.client.post(path, json={}, headers=stack.headers())
        assert response.status_code == 404
    assert (await stack.client.get("/v1/chat/completions", headers=stack.headers())).status_code == 405


async def test_concurrent_streams_have_their_own_texts(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    async def one(tokens: int) -> str:
        stream = await sdk.chat.completions.create(**asking(stack, f"tokens={tokens} delay=0.005"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    texts = await asyncio.gather(*(one(n) for n in range(1, 21)))
    assert texts == [expected(n) for n in range(1, 21)]
