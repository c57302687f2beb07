"""Unusual answers of LiteLLM's Responses API, at ``/v1/responses`` and at the proxy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.oddserver import Scripted, odd_server
from tests.support.openai import ask
from tests.support.response_events import (
    COMPLETED,
    CREATED,
    FAILURES,
    HELLO,
    KEY,
    ODD,
    deltas,
    event,
    events_in,
    response,
)
from tests.support.stack import ADA, GRACE, Stack, embedded_stack

in_one_loop = pytest.mark.asyncio(loop_scope="module")
PATHS = pytest.mark.parametrize("path", ["/v1/responses", "proxy/responses"])
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "output_tokens_details": None}
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}


def streamed(*chunks: bytes) -> Scripted:
    return Scripted(headers={"content-type": "text/event-stream"}, pieces=list(chunks))


def whole(body: Any, status: int = 200) -> Scripted:
    return Scripted(status, pieces=[body if isinstance(body, bytes) else json.dumps(body).encode()])


def refused(status: int, message: str) -> Scripted:
    return whole({"error": {"message": message, "type": "invalid_request_error", "code": str(status)}}, status)


COMPLETE = json.dumps(response("completed", output=[MESSAGE])).encode()
LIMITED = {"code": "rate_limit_exceeded", "message": "x"}
NOT_FOUND = "litellm.NotFoundError: NotFoundError: OpenAIException - Not Found"
WHOLES: dict[str, tuple[Scripted, int, str | None]] = {
    "null details": (whole(response("completed", output=[MESSAGE], usage=USAGE)), 200, None),
    "no usage": (whole(response("completed", output=[MESSAGE])), 200, None),
    "an error of nulls": (whole(response("completed", output=[MESSAGE], error={"code": None})), 200, None),
    "incomplete": (whole(response("incomplete", output=[MESSAGE], usage=USAGE)), 200, None),
    "half an emoji": (whole(COMPLETE.replace(b"Hello", b"\\ud83d")), 200, None),
    "failed": (whole(response("failed", error={"code": "server_error", "message": KEY})), 502, "model"),
    "failed and limited": (whole(response("failed", error=LIMITED)), 429, "rate_limit_exceeded"),
    "cancelled": (whole(response("cancelled")), 502, "model"),
    "an error with the status 200": (whole({"error": {"message": "x", "code": "500"}}), 502, "model"),
    "no output": (whole({"id": "resp_1", "object": "response"}), 502, "decode"),
    "no JSON": (whole(b"<html>"), 502, "decode"),
    "a list": (whole(b"[]"), 502, "decode"),
    "an unknown model": (refused(404, "litellm.NotFoundError: the model does not exist"), 404, "model_not_found"),
}  # fmt: skip
STREAMS = {name: streamed(CREATED, *HELLO, *chunks) for name, (chunks, _, _) in FAILURES.items()}
STREAMS |= {f"odd: {name}": streamed(CREATED, *chunks, COMPLETED) for name, (chunks, _) in ODD.items()}


def answered(method: str, path: str, body: bytes) -> Scripted:
    """Return the answer that the model's name selects."""
    asked = json.loads(body or b"{}")
    name = asked.get("model", "")
    if name == "always fine":
        return streamed(CREATED, *HELLO, COMPLETED) if asked.get("stream") else WHOLES["no usage"][0]
    if name == "only bridged":
        if "use_chat_completions_api" not in asked:
            return refused(404, NOT_FOUND)
        return streamed(CREATED, *HELLO, COMPLETED) if asked.get("stream") else WHOLES["no usage"][0]
    return STREAMS[name] if asked.get("stream") else WHOLES[name][0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with odd_server(answered) as url, embedded_stack(litellm_base_url=url) as running:
        yield running


def asking(name: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "input": "hi", **more}


@PATHS
@pytest.mark.parametrize("name", FAILURES)
@in_one_loop
async def test_a_stream_that_fails_ends_with_response_failed(stack: Stack, path: str, name: str) -> None:
    answer = await ask(stack, path, asking(name, stream=True))
    blocks = [block for block in answer.text.split("\n\n") if block]
    last = json.loads(blocks[-1].partition("data: ")[2])
    assert (answer.status_code, blocks[-1].partition("\n")[0]) == (200, "event: response.failed")
    shown = last["response"]
    assert (shown["id"], shown["status"], shown["model"]) == (
        json.loads(blocks[0].partition("data: ")[2])["response"]["id"],
        "failed",
        "m",
    )
    reason = FAILURES[name][2]
    assert shown["error"]["code"] == ("rate_limit_exceeded" if reason is None else reason.lower())
    assert answer.text.count("response.failed") == 2  # the event's name and its type
    assert "response.completed" not in answer.text
    assert KEY not in answer.text


@PATHS
@pytest.mark.parametrize("name", ODD)
@in_one_loop
async def test_a_stream_with_odd_events_ends_as_usual(stack: Stack, path: str, name: str) -> None:
    answer = await ask(stack, path, asking(f"odd: {name}", stream=True))
    assert answer.text.rpartition("event: ")[2].startswith("response.completed")
    assert answer.text.count("response.completed") == 2
    assert "response.failed" not in answer.text


@PATHS
@pytest.mark.parametrize("name", WHOLES)
@in_one_loop
async def test_a_whole_answer(stack: Stack, path: str, name: str) -> None:
    _, status, code = WHOLES[name]
    answer = await ask(stack, path, asking(name))
    assert answer.status_code == status, answer.text
    assert KEY not in answer.text
    if code is not None:
        assert answer.json()["error"]["code"] == code
        return
    found = answer.json()
    assert (found["id"].startswith("resp_1."), found.get("error")) == (True, None)
    if "usage" in found:
        assert found["usage"]["output_tokens_details"] == {"reasoning_tokens": 0}


async def test_odd_answers_of_models_do_not_open_the_breaker_of_litellm() -> None:
    """Several users and both operations fail, as the breaker of a service requires."""
    async with (
        odd_server(answered) as url,
        embedded_stack(litellm_base_url=url, breaker_reset_seconds=30) as stack,
    ):
        for user in (ADA, GRACE):
            for name in FAILURES:
                await created_by(stack, user, asking(name, stream=True))
            for name in WHOLES:
                await created_by(stack, user, asking(name))
        for user in (ADA, GRACE):
            answer = await created_by(stack, user, asking("always fine"))
            assert answer.status_code == 200, answer.text


async def created_by(stack: Stack, user: str, body: dict[str, Any]) -> httpx.Response:
    return await stack.client.post("/v1/responses", json=body, headers=stack.headers(user))


@pytest.mark.parametrize("stream", [False, True])
@in_one_loop
async def test_only_the_providers_answer_decides_how_a_model_is_called(stack: Stack, stream: bool) -> None:
    for _ in range(2):
        answer = await ask(stack, "/v1/responses", asking("only bridged", stream=stream))
        assert answer.status_code == 200, answer.text
        if stream:
            assert deltas(events_in_any_order(answer.text)) == "Hello world"


def events_in_any_order(text: str) -> list[dict[str, Any]]:
    return [json.loads(block.partition("data: ")[2]) for block in text.split("\n\n") if "data: " in block]


@in_one_loop
async def test_a_lost_event_of_creation_leaves_a_valid_failure(stack: Stack) -> None:
    STREAMS["no creation"] = streamed(event("response.note", sequence_number=0))
    answer = await ask(stack, "/v1/responses", asking("no creation", stream=True))
    [_, last] = events_in(answer.text)
    assert (last["type"], last["response"]["model"], last["response"]["error"]["code"]) == (
        "response.failed",
        "no creation",
        "cut",
    )


async def test_a_list_of_models_with_half_an_emoji_has_the_agents_too() -> None:
    def listed(method: str, path: str, body: bytes) -> Scripted:
        return whole(b'{"object":"list","data":[{"id":"a","object":"model","owned_by":"\\ud83d"}]}')

    async with odd_server(listed) as url, embedded_stack(litellm_base_url=url) as stack:
        agent_id = await stack.make_agent()
        answer = await stack.client.get("/v1/models", headers=stack.headers())
        names = [model["id"] for model in answer.json()["data"]]
        assert (answer.status_code, names[0], agent_id in names) == (200, "a", True)
