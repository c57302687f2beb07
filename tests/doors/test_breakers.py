from __future__ import annotations

import httpx
import pytest

from tests.support.stack import GRACE, Stack


def dead_model(stack: Stack) -> str:
    """Return a model that only these tests use."""
    return "fake-500" if stack.real else "gpt-4.1"


async def chat(stack: Stack, model: str, text: str, **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failing_model_opens_only_its_own_breaker(stack: Stack, stream: bool) -> None:
    dead = dead_model(stack)
    for _ in range(5):
        failed = await chat(stack, dead, "[[error=500]]", stream=stream)
        assert (failed.status_code, failed.json()["error"]["code"]) == (502, "model")
    for _ in range(10):
        for streamed in (True, False):
            answer = await chat(stack, stack.chat_model, "hi [[tokens=2 delay=0]]", stream=streamed)
            assert answer.status_code == 200, answer.text
        assert (await stack.client.get("/v1/models", headers=stack.headers())).status_code == 200
    embedded = {"model": stack.embedding_model, "input": "x"}
    assert (await stack.client.post("/v1/embeddings", json=embedded, headers=stack.headers())).status_code == 200
    seen = (await stack.client.get("/health")).json()
    litellm = seen["services"]["litellm"]
    assert (litellm["status"], litellm["breaker"]) == ("ok", "closed")
    assert [part["part"] for part in litellm["breakers"]] == [f"model:{dead}"]
    asked = await stack.graphql("{ platform { services { service note } } }", user=GRACE)
    assert dead not in str(asked)
