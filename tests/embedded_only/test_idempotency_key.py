"""``Idempotency-Key`` at ``/v1``: a repeated request gets the answer of the first request."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from app.embedded.faults import Fault
from app.embedded.people import ADA, GRACE
from tests.support.openai import sdk_client
from tests.support.stack import Stack, embedded_stack, until

CHAT, VECTORS = "/v1/chat/completions", "/v1/embeddings"


def asking(directive: str = "tokens=3 delay=0", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"hi [[{directive}]]"}], **more}


async def post(
    stack: Stack, body: dict[str, Any], key: str | None = "k", *, path: str = CHAT, user: str = ADA
) -> httpx.Response:
    headers = stack.headers(user) | ({} if key is None else {"idempotency-key": key})
    return await stack.client.post(path, json=body, headers=headers)


def model_calls(stack: Stack) -> int:
    return sum(call in {f"POST {CHAT}", f"POST {VECTORS}"} for call in stack.calls("litellm"))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_repeated_request_gets_the_first_answer(stack: Stack, stream: bool) -> None:
    answers = [await post(stack, asking(stream=stream)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].text
    for name in ("x-litellm-call-id", "x-stream-id", "content-type"):
        assert len({answer.headers.get(name) for answer in answers}) == 1
    assert model_calls(stack) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_concurrent_requests_with_a_key_are_one_call(stack: Stack, stream: bool) -> None:
    body = asking("tokens=5 delay=0.02", stream=stream)
    answers = await asyncio.gather(*(post(stack, body) for _ in range(5)))
    assert len({answer.content for answer in answers}) == 1
    assert model_calls(stack) == 1


async def test_a_repeated_request_reads_a_running_stream_from_its_start(stack: Stack) -> None:
    body = asking("tokens=20 delay=0.02", stream=True)
    headers = stack.headers() | {"idempotency-key": "k"}
    async with stack.client.stream("POST", CHAT, json=body, headers=headers) as first:
        parts = first.aiter_bytes()
        begun = await anext(parts)
        second = await post(stack, body)
        whole = begun + b"".join([part async for part in parts])
    assert second.content == whole
    assert model_calls(stack) == 1


async def test_repeated_embeddings_get_the_first_answer(stack: Stack) -> None:
    body = {"model": "text-embedding-3-small", "input": ["a", "b"]}
    answers = [await post(stack, body, path=VECTORS) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert model_calls(stack) == 1


async def test_an_answer_is_stored_for_a_client_that_disconnected(stack: Stack) -> None:
    body = asking("tokens=3 first=0.3")
    first = asyncio.create_task(post(stack, body))
    await until(lambda: model_calls(stack) == 1)
    first.cancel()
    assert (await post(stack, body)).status_code == 200
    assert model_calls(stack) == 1


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
async def test_a_key_is_refused_with_another_request(stack: Stack, first: bool, second: bool) -> None:
    assert (await post(stack, asking(stream=first))).status_code == 200
    other = await post(stack, asking("tokens=4 delay=0", stream=second))
    assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")
    assert other.json()["error"]["code"] == "key_reused"
    vectors = {"model": "text-embedding-3-small", "input": "a"}
    assert (await post(stack, vectors, path=VECTORS)).status_code == 409
    assert model_calls(stack) == 1


async def test_a_key_belongs_to_one_user(stack: Stack) -> None:
    mine, theirs = await post(stack, asking()), await post(stack, asking(), user=GRACE)
    assert (mine.status_code, theirs.status_code) == (200, 200)
    assert model_calls(stack) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failed_request_begins_again_under_its_key(stack: Stack, stream: bool) -> None:
    failing = asking("error=cut", stream=stream) if stream else asking("error=500")
    for _ in range(2):
        assert "error" in (await post(stack, failing)).text
    assert model_calls(stack) == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("cut_after", [0, 40])
async def test_a_completion_whose_answer_was_cut_is_not_repeated(stack: Stack, stream: bool, cut_after: int) -> None:
    stack.platform.faults["litellm"] = Fault(cut_after=cut_after, path=CHAT)
    first = await post(stack, asking(stream=stream))
    del stack.platform.faults["litellm"]
    again = await post(stack, asking(stream=stream))
    assert '"error"' in first.text
    assert "[DONE]" not in again.text
    assert model_calls(stack) == 1
    if not stream:
        assert (again.status_code, again.json()["error"]["code"]) == (409, "outcome_unknown")
        assert again.headers["x-should-retry"] == "false"


async def test_embeddings_whose_answer_was_cut_are_repeated(stack: Stack) -> None:
    body = {"model": "text-embedding-3-small", "input": ["a"]}
    stack.platform.faults["litellm"] = Fault(cut_after=40, path=VECTORS)
    assert (await post(stack, body, path=VECTORS)).status_code == 502
    del stack.platform.faults["litellm"]
    assert (await post(stack, body, path=VECTORS)).status_code == 200


@pytest.mark.parametrize("key", ["", "k" * 201, "caf\xe9", "a\tb"])
async def test_an_invalid_key_is_refused(stack: Stack, key: str) -> None:
    headers = [(b"authorization", f"Bearer {stack.token()}".encode()), (b"idempotency-key", key.encode("latin-1"))]
    answer = await stack.client.post(CHAT, json=asking(), headers=headers)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["error"]["message"]
    assert model_calls(stack) == 0


async def test_without_a_key_or_at_the_proxy_each_request_is_a_call(stack: Stack) -> None:
    for _ in range(2):
        await post(stack, asking(), None)
    headers = {"authorization": f"Bearer {stack.agent_secret()}", "idempotency-key": "k"}
    for _ in range(2):
        answer = await stack.client.post(f"{stack.proxy()}/chat/completions", json=asking(), headers=headers)
        assert answer.status_code == 200
    assert model_calls(stack) == 4


@pytest.mark.parametrize("stream", [True, False])
async def test_a_repeated_request_does_not_count_for_the_llm_rate_limit(stream: bool) -> None:
    async with embedded_stack(rate_limit_llm=2) as stack:
        body = asking("tokens=3 delay=0.02", stream=stream)
        together = await asyncio.gather(*(post(stack, body) for _ in range(2)))
        again = [await post(stack, body) for _ in range(3)]
        other, over = await post(stack, asking(), "other"), await post(stack, asking(), "third")
    assert [answer.status_code for answer in (*together, *again, other, over)] == [200] * 6 + [429]


async def test_a_request_that_begins_again_counts_for_the_llm_rate_limit() -> None:
    async with embedded_stack(rate_limit_llm=1) as stack:
        body = asking("tokens=100 delay=0.05", stream=True)
        headers = stack.headers() | {"idempotency-key": "k"}
        sending = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield json.dumps(body).encode()[:-1]
            await sending.wait()
            yield b"}"

        async with stack.client.stream("POST", CHAT, json=body, headers=headers) as first:
            await anext(first.aiter_bytes())
            second = asyncio.create_task(stack.client.post(CHAT, content=slowly(), headers=headers))

            polls = 0

            async def admitted() -> bool:
                nonlocal polls
                polls += 1
                answer = await stack.graphql("{ viewer { rateLimits { kind limit remaining } } }")
                [general] = [one for one in answer["data"]["viewer"]["rateLimits"] if one["kind"] == "GENERAL"]
                return bool(general["limit"] - general["remaining"] == polls + 2)

            await until(admitted)
        await until(lambda: stack.platform.state.stats.disconnected)
        sending.set()
        assert (await second).status_code == 429
    assert model_calls(stack) == 1


async def test_openai_python_sends_a_key(stack: Stack) -> None:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as sdk:
        asked = {**asking(), "extra_headers": {"Idempotency-Key": "k"}}
        first, second = [await sdk.chat.completions.create(**asked) for _ in range(2)]
        assert first.id == second.id
        with pytest.raises(openai.ConflictError):
            await sdk.chat.completions.create(**(asked | {"temperature": 0}))


async def test_tokens_of_whole_answers_are_in_the_metrics_for_every_kind(stack: Stack) -> None:
    secret = {"authorization": f"Bearer {stack.agent_secret()}"}
    vectors = {"model": "text-embedding-3-small", "input": "a"}
    await post(stack, asking(), None)
    await post(stack, vectors, None, path=VECTORS)
    await stack.client.post(f"{stack.proxy()}/chat/completions", json=asking(), headers=secret)
    metrics = (await stack.client.get("/metrics")).text
    for kind in ("completion", "embedding", "proxied"):
        [(_, tokens)] = re.findall(f'agentgraph_tokens_total{{direction="in",kind="({kind})"}} (.+)', metrics)
        assert float(tokens) > 0
