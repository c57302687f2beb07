"""Recorded answers of LiteLLM 1.106 and 1.110, read through the gateway at each endpoint."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from tests.support.documents import COMPLETION
from tests.support.doors import DOORS, Refused, events, refusal
from tests.support.oddserver import Scripted, odd_server
from tests.support.openai import ask, sdk_client
from tests.support.promises import FOUR, all_of, ends, started
from tests.support.samples import BROKEN, Sample, samples
from tests.support.stack import Stack, embedded_stack
from tests.support.streaming import completion, text_of

in_one_loop = pytest.mark.asyncio(loop_scope="module")
at_both_versions = pytest.mark.parametrize("folder", ["litellm", "litellm-1.110"])
at_v1_and_the_proxy = pytest.mark.parametrize("path", ["/v1/chat/completions", "proxy/chat/completions"])

RECORDED = {sample.id: sample for folder in ("litellm", "litellm-1.110") for sample in samples(folder)}
LIMITED = {"litellm/rpm_2_limited": None, "litellm/db_err_rpm_limit": 60.0, "litellm-1.110/rpm_2": 60.0}
LIMITED |= {"litellm-1.110/up_429": 2.0, "an hour": 3600.0, "an hour of the provider": 3600.0}
"""Refusals with the status 429, and the seconds after which a retry can succeed."""
HOP = {"content-length", "transfer-encoding", "connection", "date", "server"}
COMPLETE = """mutation($i: CompletionInput!) { complete(input: $i) {
  text finishReason usage { promptTokens completionTokens totalTokens costUsd } } }"""


def scripted(sample: Sample) -> Scripted:
    headers = {name: value for name, value in sample.headers.items() if name not in HOP}
    return Scripted(sample.status, headers, [sample.body])


def limited(header: str) -> Scripted:
    error = {"message": "slow", "type": "throttling_error", "param": None, "code": "429"}
    return Scripted(429, {"content-type": "application/json", header: "3600"}, [json.dumps({"error": error}).encode()])


ANSWERS = {name: scripted(sample) for name, sample in RECORDED.items()}
ANSWERS |= {"an hour": limited("retry-after"), "an hour of the provider": limited("llm_provider-retry-after")}


def answered(method: str, path: str, body: bytes) -> Scripted:
    """Return the recorded answer that the model's name selects."""
    if method == "GET":
        name = path.strip("/").partition("?")[0].replace("/", "_")
        return ANSWERS[f"litellm-1.110/{name}"]
    return ANSWERS[json.loads(body)["model"]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    settings = {"breaker_failures": 1000, "breaker_calls": 1000}
    async with odd_server(answered) as url, embedded_stack(litellm_base_url=url, **settings) as running:
        yield running


def asking(name: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": "hi"}], **more}


async def by_complete(stack: Stack, name: str) -> dict[str, Any]:
    given = completion(stack, "", model=name, idempotencyKey=str(uuid.uuid4()))
    return await stack.graphql(COMPLETE, {"i": given})


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("door", FOUR)
@in_one_loop
async def test_a_broken_answer_fails_once_with_its_reason(stack: Stack, door: str, name: str) -> None:
    heard = await all_of(started(stack, door, "", model=name))
    code, reason = BROKEN[name]
    error = heard[-1]["error"]
    named = "RATE_LIMIT_EXCEEDED" if (door, code) == ("openai", "RATE_LIMITED") else reason or code
    assert (ends(heard), error["reason"] or error["code"]) == (["FAILED"], named)
    assert text_of(heard) == "tok0 tok1 "


@pytest.mark.parametrize("name", BROKEN)
@in_one_loop
async def test_a_broken_answer_has_no_done_for_letta(stack: Stack, name: str) -> None:
    text = (await ask(stack, "proxy/chat/completions", asking(name, stream=True))).text
    assert (text.count('"error"'), "[DONE]" in text) == (1, False)
    assert text.rpartition("data: ")[2].startswith('{"error"')


@pytest.mark.parametrize("name", BROKEN)
@in_one_loop
async def test_a_whole_completion_of_a_broken_answer_is_an_error(stack: Stack, name: str) -> None:
    answer = await by_complete(stack, name)
    [error] = answer["errors"]
    assert (answer["data"], error["extensions"]["code"], error["extensions"].get("reason")) == (None, *BROKEN[name])


@at_both_versions
@in_one_loop
async def test_a_streamed_answer_and_its_usage_are_read(stack: Stack, folder: str) -> None:
    name = f"{folder}/chat_stream_usage"
    found = (await by_complete(stack, name))["data"]["complete"]
    usage = {"promptTokens": 3, "completionTokens": 3, "totalTokens": 6, "costUsd": "0.000009"}
    assert found == {"text": "tok0 tok1 tok2", "finishReason": "STOP", "usage": usage}
    sent = RECORDED[name].body
    begin, end = sent.rfind(b"data: {"), sent.rfind(b"data: [DONE]")
    assert b'"usage"' in sent[begin:end]
    for wants, expected in ((True, sent), (False, sent[:begin] + sent[end:])):
        body = asking(name, stream=True, stream_options={"include_usage": wants})
        assert (await ask(stack, "/v1/chat/completions", body)).content == expected


@at_both_versions
@at_v1_and_the_proxy
@in_one_loop
async def test_a_whole_answer_is_passed_on_unchanged(stack: Stack, path: str, folder: str) -> None:
    for name in ("chat", "chat_tools"):
        answer = await ask(stack, path, asking(f"{folder}/{name}"))
        sample = RECORDED[f"{folder}/{name}"]
        assert (answer.status_code, answer.content) == (200, sample.body)
        assert answer.headers["x-litellm-call-id"] == sample.headers["x-litellm-call-id"]


@at_both_versions
@in_one_loop
async def test_openai_python_reads_both_versions(stack: Stack, folder: str) -> None:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as sdk:
        whole = await sdk.chat.completions.create(**asking(f"{folder}/chat"))
        message = whole.choices[0].message
        assert (message.content, message.refusal, whole.choices[0].logprobs) == ("tok0 tok1 tok2", None, None)
        [call] = (await sdk.chat.completions.create(**asking(f"{folder}/chat_tools"))).choices[
            0
        ].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "get_weather"
        body = asking(f"{folder}/chat_stream_usage", stream_options={"include_usage": True})
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**body, stream=True)]
        assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage is not None] == [3]
        with pytest.raises(openai.APIError):
            async for _ in await sdk.chat.completions.create(**asking(f"{folder}/mid_cut"), stream=True):
                pass


def told(seconds: float | None) -> str | None:
    """Return the ``Retry-After`` that clients get."""
    return None if seconds is None else str(int(min(59, seconds)))


@pytest.mark.parametrize("name", LIMITED)
@pytest.mark.parametrize("stream", [False, True])
@at_v1_and_the_proxy
@in_one_loop
async def test_retry_after_is_below_a_minute(stack: Stack, path: str, stream: bool, name: str) -> None:
    refused = await ask(stack, path, asking(name, stream=stream))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (429, "rate_limit_exceeded")
    assert (refused.headers.get("retry-after"), error.get("retry_after_seconds")) == (
        told(LIMITED[name]),
        LIMITED[name],
    )
    assert refused.headers.get("x-should-retry") == ("false" if (LIMITED[name] or 0) > 120 else None)
    assert not [field for field in refused.headers if field.startswith(("retry-after-", "llm_provider-retry"))]


@pytest.mark.parametrize("name", LIMITED)
@in_one_loop
async def test_retry_after_is_in_the_errors_of_the_graph(stack: Stack, name: str) -> None:
    [error] = (await by_complete(stack, name))["errors"]
    assert (error["extensions"]["code"], error["extensions"].get("retryAfterSeconds")) == (
        "RATE_LIMITED",
        LIMITED[name],
    )
    for door in DOORS:
        variables = {"i": completion(stack, "", model=name), "k": str(uuid.uuid4())}
        with pytest.raises(Refused) as caught:
            await anext(events(stack, door, COMPLETION, variables))
        assert (caught.value.code, caught.value.extensions.get("retryAfterSeconds")) == ("RATE_LIMITED", LIMITED[name])
    answer = await by_event_stream(stack, name)
    assert answer.headers.get("retry-after") == told(LIMITED[name])
    assert refusal(answer)["errors"][0]["extensions"].get("retryAfterSeconds") == LIMITED[name]


async def by_event_stream(stack: Stack, name: str) -> httpx.Response:
    asked = {"query": COMPLETION, "variables": {"i": completion(stack, "", model=name), "k": str(uuid.uuid4())}}
    headers = stack.headers() | {"accept": "text/event-stream"}
    return await stack.client.post("/graphql", json=asked, headers=headers)
