"""OpenAI's Responses API at ``/v1`` and at the proxy. The provider behind the real LiteLLM has no such API."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.support.documents import STREAM as RESUME
from tests.support.doors import events
from tests.support.openai import ask, sdk_client
from tests.support.response_events import deltas, events_in
from tests.support.stack import Stack, until
from tests.support.streaming import expected, text_of, upstream_closed

PATHS = pytest.mark.parametrize("path", ["/v1/responses", "proxy/responses"])
STREAM = pytest.mark.parametrize("stream", [False, True])
ROLL = {
    "type": "function",
    "name": "roll",
    "parameters": {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]},
}


CALLS = """subscription($id: ID!) { stream(id: $id) { __typename
  ... on ToolCallDelta { name argumentsDelta } ... on StreamEnded { finishReason } } }"""


def asking(stack: Stack, directive: str, **more: Any) -> dict[str, Any]:
    return {"model": stack.chat_model, "input": f"hi [[{directive}]]", **more}


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as client:
        yield client


async def test_an_sdk_gets_a_whole_response(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.responses.create(**asking(stack, "tokens=3 delay=0"))
    assert (answer.output_text, answer.status, answer.error) == ("tok0 tok1 tok2", "completed", None)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 3
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    assert answer.id.startswith("resp_")


async def test_an_sdk_gets_a_streamed_response(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    async with sdk.responses.stream(**asking(stack, "tokens=5 delay=0")) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (final.output_text, kinds[0], kinds[-1]) == (expected(5), "response.created", "response.completed")
    assert final.usage is not None
    assert final.usage.output_tokens == 5


@PATHS
async def test_a_stream_has_each_event_once(stack: Stack, path: str) -> None:
    answer = await ask(stack, path, asking(stack, "tokens=20 delay=0", stream=True))
    found = events_in(answer.text)
    assert (answer.status_code, "[DONE]" in answer.text) == (200, False)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert ("x-stream-id" in answer.headers) == path.startswith("/v1")
    assert (deltas(found), found[-1]["type"]) == (expected(20), "response.completed")
    [name] = {event["response"]["id"] for event in found if "response" in event}
    assert name.startswith("resp_")
    assert found[-1]["response"]["usage"]["output_tokens"] == 20


@PATHS
@STREAM
async def test_a_tool_is_called_and_its_result_is_answered(stack: Stack, path: str, stream: bool) -> None:
    asked = asking(stack, "tool=roll tokens=2 delay=0", tools=[ROLL])
    first = (await ask(stack, path, asked)).json()
    [call] = [item for item in first["output"] if item["type"] == "function_call"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "https://internal/4"}
    said = {"type": "message", "role": "user", "content": asked["input"]}
    second = await ask(stack, path, {**asked, "input": [said, *first["output"], result], "stream": stream})
    assert second.status_code == 200, second.text
    assert '"function_call"' not in second.text
    assert "tok1" in second.text


async def test_a_tool_call_is_streamed_to_both_apis(stack: Stack) -> None:
    answer = await ask(stack, "/v1/responses", asking(stack, "tool=roll tokens=2 delay=0", tools=[ROLL], stream=True))
    found = events_in(answer.text)
    pieces = [event["delta"] for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert set(json.loads("".join(pieces))) == {"sides"}
    resumed = [event async for event in events(stack, "websocket", CALLS, {"id": answer.headers["x-stream-id"]})]
    calls = [event for event in resumed if event["__typename"] == "ToolCallDelta"]
    assert "".join(event["argumentsDelta"] for event in calls) == "".join(pieces)
    assert calls[0]["name"] == "roll"
    assert resumed[-1]["finishReason"] == "TOOL_CALLS"


async def test_a_response_has_the_requested_form(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    text: Any = {"format": {"type": "json_schema", "name": "place", "schema": schema, "strict": False}}
    answer = await sdk.responses.create(**asking(stack, "tokens=1 delay=0", text=text))
    assert answer.output_text
    if not stack.real:  # the model behind the real LiteLLM ignores schemas
        assert set(json.loads(answer.output_text)) == {"city"}


async def test_a_stream_can_be_resumed_in_the_graph(stack: Stack) -> None:
    answer = await ask(stack, "/v1/responses", asking(stack, "tokens=6 delay=0", stream=True))
    resumed = [event async for event in events(stack, "websocket", RESUME, {"id": answer.headers["x-stream-id"]})]
    assert (text_of(resumed), resumed[-1]["outcome"], resumed[-1]["finishReason"]) == (
        expected(6),
        "COMPLETED",
        "STOP",
    )


@STREAM
async def test_an_unknown_model_is_refused_by_its_name(stack: Stack, stream: bool) -> None:
    refused = await ask(stack, "/v1/responses", {"model": "nope", "input": "hi", "stream": stream})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"background": True}, 400, "background", "unknown_parameter"),
        ({"conversation": "conv_1"}, 400, "conversation", "unknown_parameter"),
        ({"prompt": {"id": "p"}}, 400, "prompt", "unknown_parameter"),
        ({"use_chat_completions_api": True}, 400, "use_chat_completions_api", "unknown_parameter"),
        ({"api_base": "http://10.0.0.1"}, 400, "api_base", "unknown_parameter"),
        ({"input": []}, 400, "input", "request"),
        ({"input": 1}, 400, "input", "request"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 400, "input[0]", "message"),
        ({"tools": [{"type": "mcp", "server_url": "https://example.com"}]}, 400, "tools[0].type", "tools"),
        ({"tools": [{"type": "file_search"}]}, 400, "tools[0].type", "tools"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://10.0.0.1/a.png"}]}]},
            400,
            "input[0].content[0].image_url",
            "image",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "http://10.0.0.1/a"}]}]},
            400,
            "input[0].content[0].file_url",
            "address",
        ),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id", "previous_response_not_found"),
        ({"previous_response_id": "resp_é.x.y"}, 400, "previous_response_id", "previous_response_not_found"),
    ],
)
async def test_a_request_that_cannot_be_served_is_refused(
    stack: Stack, change: dict[str, Any], status: int, param: str, code: str
) -> None:
    for path in ("/v1/responses", "proxy/responses"):
        refused = await ask(stack, path, asking(stack, "tokens=1", **change))
        error = refused.json()["error"]
        assert (refused.status_code, error["param"], error["code"]) == (status, param, code)


async def test_empty_options_are_accepted(stack: Stack) -> None:
    options = {"background": False, "metadata": {"a": "b"}, "stream_options": {"include_obfuscation": False}}
    answer = await ask(stack, "/v1/responses", asking(stack, "tokens=1 delay=0", conversation=None, **options))
    assert answer.status_code == 200, answer.text


@PATHS
async def test_a_broken_answer_ends_with_response_failed(stack: Stack, path: str) -> None:
    answer = await ask(stack, path, asking(stack, "tokens=8 delay=0.05 error=cut", stream=True))
    found = events_in(answer.text)
    assert [event["type"] for event in found if event["type"] in {"response.completed", "response.failed"}] == [
        "response.failed"
    ]
    response = found[-1]["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "model")
    assert "litellm." not in answer.text
    assert response["id"] == found[0]["response"]["id"]
    assert expected(8).startswith(deltas(found).strip())


async def test_a_broken_answer_that_is_not_streamed_is_an_error(stack: Stack) -> None:
    answer = await ask(stack, "/v1/responses", asking(stack, "tokens=8 delay=0 error=500"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model")


@PATHS
async def test_disconnecting_closes_the_models_stream(stack: Stack, path: str) -> None:
    before = await stack.model_stats()
    asked = asyncio.create_task(ask(stack, path, asking(stack, "tokens=400 delay=0.05", stream=True)))

    async def talking() -> bool:
        return (await stack.model_stats())["total"] == before["total"] + 1

    await until(talking)
    asked.cancel()
    await upstream_closed(stack, before)


@STREAM
async def test_a_repeated_request_gets_the_first_answer(stack: Stack, stream: bool) -> None:
    key, before = str(uuid.uuid4()), await stack.model_stats()
    body = asking(stack, "tokens=3 delay=0", stream=stream)
    answers = [await ask(stack, "/v1/responses", body, **{"idempotency-key": key}) for _ in range(2)]
    assert answers[0].text == answers[1].text
    assert (await stack.model_stats())["total"] == before["total"] + 1
    reused = await ask(stack, "/v1/responses", {**body, "input": "other"}, **{"idempotency-key": key})
    assert (reused.status_code, reused.json()["error"]["code"]) == (409, "key_reused")
