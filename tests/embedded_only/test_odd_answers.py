"""Unusual answers of models and LiteLLM, at ``/v1`` and in the graph."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.support.node import run_node
from tests.support.oddserver import Scripted, odd_server
from tests.support.openai import sdk_client
from tests.support.stack import Stack, embedded_stack

in_one_loop = pytest.mark.asyncio(loop_scope="module")

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
ONLY_USAGE = {"choices": [{"index": 0, "delta": {}}], "usage": USAGE}
DONE = b"data: [DONE]\n\n"
IDLE = 0.4
COMPLETE = """mutation($i: CompletionInput!) { complete(input: $i) {
  text reasoning finishReason toolCalls { toolCallId name arguments }
  usage { promptTokens completionTokens totalTokens costUsd } } }"""
EMBED = "mutation($i: EmbedInput!) { embed(input: $i) { embeddings { index vector } usage { totalTokens } } }"


def event(wire: Any) -> bytes:
    return b"data: " + json.dumps(wire).encode() + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, *, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **more})


def streamed(*pieces: bytes | float, **headers: str) -> Scripted:
    return Scripted(headers={"content-type": "text/event-stream", **headers}, pieces=list(pieces))


def said(*pieces: bytes, usage: Any = USAGE, finish: str = "stop") -> Scripted:
    """Return a stream with these pieces between the usual beginning and end."""
    start = chunk({"role": "assistant", "content": ""})
    return streamed(start, *pieces, chunk(None, finish), event({**ONLY_USAGE, "usage": usage}), DONE)


def refused(status: int, message: Any, *, headers: dict[str, str] | None = None, **more: Any) -> Scripted:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": str(status), **more}
    body = json.dumps({"error": error}).encode()
    given = {"content-type": "application/json", **(headers or {})}
    return Scripted(status=status, headers=given, pieces=[body])


def call(**piece: Any) -> bytes:
    return chunk({"tool_calls": [piece]})


def function(name: str, arguments: str) -> dict[str, str]:
    return {"name": name, "arguments": arguments}


HELLO = chunk({"content": "Hello world"})
ANSWERS: dict[str, Scripted] = {
    "calls of one index": said(
        call(index=0, id="call_a", function=function("roll", '{"sides":')),
        call(index=0, function={"arguments": "6}"}),
        call(index=0, id="call_b", function=function("flip", '{"times":2}')),
        finish="tool_calls",
    ),
    "calls without index": said(
        call(id="call_a", function=function("roll", '{"sides":6}')),
        call(id="call_b", function=function("flip", '{"times":2}')),
    ),
    "call whose id and name are empty at first": said(
        call(index=0, id="", function=function("", "")),
        call(index=0, id="call_a", function=function("roll", '{"sides":')),
        call(index=0, id="", function=function("", "6}")),
    ),
    "custom call": said(
        call(index=0, id="call_a", type="custom", custom={"name": "sql", "input": ""}),
        call(index=0, type="custom", custom={"input": "SELECT 1"}),
    ),
    "function call": said(
        chunk({"function_call": function("roll", "")}), chunk({"function_call": {"arguments": '{"sides":6}'}})
    ),
    "calls of one id": said(
        call(index=0, id="call_a", function=function("roll", '{"sides":6}')),
        call(index=1, id="call_a", function=function("flip", '{"times":2}')),
    ),
    "another id in each piece": said(
        call(index=0, id="call_a", function=function("roll", '{"sides":')),
        call(index=0, id="call_x", function={"arguments": "6}"}),
        call(index=0, id="call_b", function=function("flip", '{"times":2}')),
        call(index=0, id="call_y", function=function("", "\n")),
    ),
    "safety": said(HELLO, finish="SAFETY"),
    "tool use": said(HELLO, finish="tool_use"),
    "max tokens": said(HELLO, finish="MAX_TOKENS"),
    "eos": said(HELLO, finish="eos"),
    "reasoning text": said(chunk({"reasoning_text": "hm"}), HELLO),
    "error of a choice": streamed(HELLO, event({"choices": [
        {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 429, "message": "x"}}]}), DONE),
    "error by status": streamed(HELLO, event({"error": {"status": "RESOURCE_EXHAUSTED", "message": "x"}}), DONE),
    "error in an error": streamed(HELLO, event({"error": {"error": {"code": 429, "message": "x"}}}), DONE),
    "detail": streamed(HELLO, event({"detail": "Internal Server Error"})),
    "list of one error": Scripted(400, {"content-type": "application/json"}, [json.dumps(
        [{"error": {"code": 400, "message": "exceeds the maximum number of tokens allowed (8192)."}}]).encode()]),
    "LM Studio": refused(400, "the model is loaded with context length of only 4096 tokens"),
    "OpenRouter": refused(400, "this model requires moderation. Your input was flagged for violence"),
    "vectors of one index": Scripted(pieces=[json.dumps({
        "data": [{"index": 0, "embedding": [0.5]}, {"index": 0, "embedding": [0.25]}]}).encode()]),
    "cost object": said(HELLO, usage={**USAGE, "cost": {"total_cost": 0.3}}),
    "cost text": said(HELLO, usage={**USAGE, "cost": "n/a"}),
    "counts as text": said(HELLO, usage={name: str(count) for name, count in USAGE.items()}),
    "counts out of range": said(HELLO, usage={"prompt_tokens": 2**40, "completion_tokens": -1, "total_tokens": 1.5}),
    "usage list": said(HELLO, usage=[7, 5]),
    "content parts": said(
        chunk({"content": "Hello "}),
        chunk({"content": [{"type": "reference", "reference_ids": [1]}]}),
        chunk({"content": [{"type": "text", "text": "world"}]}),
    ),
    "types of parts": said(
        chunk({"content": [{"type": ["text"], "text": "?"}]}), chunk({"content": [{"type": {}, "text": "?"}]}), HELLO
    ),
    "reasoning object": said(chunk({"reasoning_content": {"text": "hm"}}), HELLO),
    "not JSON": said(b"data: {oops\n\n", HELLO),
    "no UTF-8": said(b"data: \xff\xfe\n\n", HELLO),
    "not a number": said(
        chunk({"content": "Hello "}), b'data: {"choices":[{"delta":{"content":"world"},"logprobs":NaN}]}\n\n'
    ),
    "refusal": said(chunk({"refusal": "I would "}), chunk({"refusal": "rather not."})),
    "usage in every chunk": streamed(
        chunk({"role": "assistant", "content": ""}, usage=USAGE),
        chunk({"content": "left"}, usage=USAGE),
        chunk({"content": "right"}, index=1, usage=USAGE),
        chunk({"refusal": "rather not"}, usage=USAGE),
        chunk(None, "stop", usage=USAGE),
        chunk(None, "stop", index=1, usage=USAGE),
        event({"choices": [], "usage": {**USAGE, "only": True}}),
        DONE,
    ),
    "no DONE": streamed(HELLO, chunk(None, "content_filter"), event(ONLY_USAGE)),
    "no blank line": streamed(HELLO, chunk(None, "stop"), b"data: [DONE]\n"),
    "no finish reason": streamed(HELLO, event(ONLY_USAGE)),
    "large event": said(
        b'data: {"choices":[{"index":0,"delta":{"images":[{"image_url":{"url":"' + b"A" * 5_000_000 + b'"}}]}}]}\n\n'
    ),
    "error and DONE": streamed(HELLO, event({"error": {"message": "x", "type": None, "code": "500"}}), DONE),
    "error of context": streamed(HELLO, event({"error": {"message": "ContextWindowExceeded", "code": "400"}}), DONE),
    "content filter": refused(400, "litellm.ContentPolicyViolationError: a content management policy.", param="prompt"),
    "named parameter": refused(400, "Unsupported parameter: 'max_tokens' is not supported", param="max_tokens"),
    "context overflow": refused(400, "litellm.ContextWindowExceededError: maximum context length is 8192 tokens."),
    "rate limit": refused(429, "slow", headers={"retry-after": "3"}),
    "page of HTML": Scripted(status=413, headers={"content-type": "text/html"}, pieces=[b"<html>too large</html>"]),
    "ids": streamed(b"id: 1\n", chunk({"content": "Hello "}), b"id: 2\n", chunk({"content": "my "}), IDLE,
        b"id: 3\n", chunk({"content": "world"}), chunk(None, "stop"), DONE),
    "quiet": streamed(chunk({"content": "Hello "}), IDLE, chunk({"content": "world"}), chunk(None, "stop"), DONE),
    "vectors without index": Scripted(pieces=[json.dumps({
        "data": [{"embedding": [0.5]}, {"index": 1, "embedding": [0.25]}], "usage": None}).encode()]),
    "vectors of other inputs": Scripted(pieces=[json.dumps({
        "data": [{"index": 5, "embedding": [0.5]}], "usage": {"prompt_tokens": 3}}).encode()]),
    "whole with odd usage": Scripted(pieces=[json.dumps({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello world"}}],
        "usage": {"prompt_tokens": None, "completion_tokens": "5", "cost": {}}}).encode()]),
}  # fmt: skip


def answered(_method: str, _path: str, body: bytes) -> Scripted:
    """Return the answer that the model's name selects. A ``late`` model sends nothing for a while."""
    name = str(json.loads(body or b"{}").get("model", ""))
    if name.startswith("late "):
        late = ANSWERS[name.removeprefix("late ")]
        return Scripted(late.status, late.headers, [IDLE, *late.pieces])
    return ANSWERS[name]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with (
        odd_server(answered) as url,
        embedded_stack(litellm_base_url=url, stream_heartbeat_seconds=IDLE / 8) as running,
    ):
        yield running


def asking(name: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": "Hello"}], **more}


async def by_stream(stack: Stack, name: str, **more: Any) -> str:
    body = asking(name, stream=True, **more)
    response = await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers())
    assert response.status_code == 200, response.text
    return response.text


async def by_complete(stack: Stack, name: str) -> dict[str, Any]:
    given = {"model": name, "messages": [{"role": "USER", "content": "Hello"}], "idempotencyKey": uuid.uuid4().hex}
    return await stack.graphql(COMPLETE, {"i": given})


async def completed(stack: Stack, name: str) -> dict[str, Any]:
    answer = await by_complete(stack, name)
    assert "errors" not in answer, answer
    found: dict[str, Any] = answer["data"]["complete"]
    return found


ROLL = {"toolCallId": "call_a", "name": "roll", "arguments": '{"sides":6}'}
FLIP = {"toolCallId": "call_b", "name": "flip", "arguments": '{"times":2}'}


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("calls of one index", [ROLL, FLIP]),
        ("calls without index", [ROLL, FLIP]),
        ("call whose id and name are empty at first", [ROLL]),
        ("custom call", [{"toolCallId": "call_a", "name": "sql", "arguments": "SELECT 1"}]),
        ("function call", [ROLL | {"toolCallId": None}]),
        ("calls of one id", [ROLL, FLIP | {"toolCallId": "call_a"}]),
        ("another id in each piece", [ROLL, FLIP | {"arguments": '{"times":2}\n'}]),
    ],
)
@in_one_loop
async def test_tool_calls_of_every_form_are_read(stack: Stack, name: str, calls: list[dict[str, Any]]) -> None:
    assert (await completed(stack, name))["toolCalls"] == calls
    assert (await by_stream(stack, name)).endswith(DONE.decode())


COUNTS = {"promptTokens": 7, "completionTokens": 5, "totalTokens": 12, "costUsd": None}
WITH_USAGE = ["cost object", "cost text", "counts as text", "content parts", "types of parts", "reasoning object"]
WITH_USAGE += ["not JSON", "no UTF-8", "not a number"]


@pytest.mark.parametrize("name", [*WITH_USAGE, "counts out of range", "usage list"])
@in_one_loop
async def test_an_unreadable_field_leaves_the_text(stack: Stack, name: str) -> None:
    found = await completed(stack, name)
    assert (found["text"], found["finishReason"]) == ("Hello world", "STOP")
    assert found["usage"] == (COUNTS if name in WITH_USAGE else None)
    streamed_text = await by_stream(stack, name, stream_options={"include_usage": True})
    upstream = b"".join(piece for piece in ANSWERS[name].pieces if isinstance(piece, bytes))
    assert streamed_text == upstream.decode("utf-8", "replace")


@in_one_loop
async def test_unreadable_events_are_in_the_metrics(stack: Stack) -> None:
    await by_stream(stack, "not JSON")
    assert "agentgraph_unreadable_events_total" in (await stack.client.get("/metrics")).text


@in_one_loop
async def test_reasoning_and_refusals_are_read(stack: Stack) -> None:
    assert (await completed(stack, "reasoning object"))["reasoning"] == "hm"
    assert (await completed(stack, "reasoning text"))["reasoning"] == "hm"
    assert (await completed(stack, "refusal"))["text"] == "I would rather not."
    assert "rather not." in await by_stream(stack, "refusal")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("safety", "CONTENT_FILTER"), ("tool use", "TOOL_CALLS"), ("max tokens", "LENGTH"), ("eos", "STOP")],
)
@in_one_loop
async def test_finish_reasons_of_other_providers_are_mapped(stack: Stack, name: str, reason: str) -> None:
    assert (await completed(stack, name))["finishReason"] == reason


@in_one_loop
async def test_a_chunk_with_content_and_usage_is_passed_on(stack: Stack) -> None:
    text = await by_stream(stack, "usage in every chunk")
    assert all(part in text for part in ("left", "right", '"role"', "rather not", DONE.decode()))
    assert "only" not in text
    assert "only" in await by_stream(stack, "usage in every chunk", stream_options={"include_usage": True})


@in_one_loop
async def test_an_answer_without_done_or_its_blank_line_is_complete(stack: Stack) -> None:
    assert (await completed(stack, "no DONE"))["finishReason"] == "CONTENT_FILTER"
    assert (await completed(stack, "no blank line"))["text"] == "Hello world"
    for name in ("no DONE", "no blank line"):
        text = await by_stream(stack, name)
        assert '"error"' not in text
        assert text.endswith(DONE.decode())


@in_one_loop
async def test_an_answer_without_a_finish_reason_is_cut(stack: Stack) -> None:
    before = await tokens(stack, "completion")
    text = await by_stream(stack, "no finish reason")
    assert ('"code":"cut"' in text, "[DONE]" in text) == (True, False)
    assert await tokens(stack, "completion") == (before[0] + 7, before[1] + 5)


@in_one_loop
async def test_an_event_of_five_megabytes_is_passed_on(stack: Stack) -> None:
    text = await by_stream(stack, "large event")
    assert len(text) > 5_000_000
    assert ('"error"' in text, text.endswith(DONE.decode())) == (False, True)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("error and DONE", "model"),
        ("error of context", "context_length_exceeded"),
        *[(name, "rate_limit_exceeded") for name in ("error of a choice", "error by status", "error in an error")],
        ("detail", "model"),
    ],
)
@in_one_loop
async def test_an_error_event_ends_the_stream_without_done(stack: Stack, name: str, code: str) -> None:
    text = await by_stream(stack, name)
    assert (text.count('"error"'), f'"code":"{code}"' in text, "[DONE]" in text) == (1, True, False)


REFUSALS = [
    ("content filter", "invalid_request_error", "content_filter", "prompt"),
    ("named parameter", "invalid_request_error", "request", "max_tokens"),
    ("context overflow", "invalid_request_error", "context_length_exceeded", None),
    ("list of one error", "invalid_request_error", "context_length_exceeded", None),
    ("LM Studio", "invalid_request_error", "context_length_exceeded", None),
    ("OpenRouter", "invalid_request_error", "content_filter", None),
    ("rate limit", "rate_limit_error", "rate_limit_exceeded", None),
    ("page of HTML", "invalid_request_error", "payload_too_large", None),
]


@pytest.mark.parametrize(("name", "kind", "code", "param"), REFUSALS)
@in_one_loop
async def test_an_early_and_a_late_refusal_have_the_same_body(
    stack: Stack, name: str, kind: str, code: str, param: str | None
) -> None:
    early = await stack.client.post("/v1/chat/completions", json=asking(name), headers=stack.headers())
    error = early.json()["error"]
    assert early.status_code == ANSWERS[name].status
    assert early.headers.get("retry-after") == ANSWERS[name].headers.get("retry-after")
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    late = await by_stream(stack, f"late {name}")
    assert late.startswith(": ping\n\n")
    assert json.loads(late.rpartition("data: ")[2]) == early.json()


@pytest.mark.parametrize(
    ("name", "reason"), [("content filter", "CONTENT_FILTER"), ("context overflow", "CONTEXT_LENGTH")]
)
@pytest.mark.parametrize("late", ["", "late "])
@in_one_loop
async def test_a_refusal_has_its_reason_in_the_graph(stack: Stack, name: str, reason: str, late: str) -> None:
    [error] = (await by_complete(stack, late + name))["errors"]
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("BAD_USER_INPUT", reason)


@in_one_loop
async def test_openai_python_recognizes_a_context_overflow(stack: Stack) -> None:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as sdk:
        with pytest.raises(openai.BadRequestError) as early:
            await sdk.chat.completions.create(**asking("context overflow"))
        with pytest.raises(openai.APIError) as late:
            async for _ in await sdk.chat.completions.create(**asking("late context overflow"), stream=True):
                pass
    assert early.value.code == late.value.code == "context_length_exceeded"
    assert "prompt is too long" in early.value.message  # langchain-openai 1.7.4
    assert "exceeds the context window" in str(late.value)  # langchain-openai 1.7.4 in a stream
    for caught in (early, late):
        assert "this model's maximum context length is" in str(caught.value).lower()  # litellm 1.110.2


@pytest.mark.parametrize(("name", "ping"), [("ids", ": ping\n"), ("quiet", ": ping\n\n")])
@in_one_loop
async def test_openai_python_reads_a_stream_with_heartbeats(stack: Stack, name: str, ping: str) -> None:
    text = await by_stream(stack, name)
    assert ping in text
    assert (": ping\n\n" in text) == (name == "quiet")
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(**asking(name), stream=True)
        words = [one.choices[0].delta.content or "" async for one in stream]
    assert "".join(words) == ("Hello my world" if name == "ids" else "Hello world")


@pytest.mark.needs_node
@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("ids", "Hello my world", None),
        ("quiet", "Hello world", None),
        ("late named parameter", "", "request"),
        ("error of context", "Hello world", "context_length_exceeded"),
    ],
)
@in_one_loop
async def test_openai_node_reads_heartbeats_and_late_errors(
    stack: Stack, name: str, text: str, code: str | None
) -> None:
    [seen] = await run_node("openai_stream.mjs", url=stack.url, token=stack.token(), body=asking(name))
    param = "max_tokens" if "parameter" in name else None
    error = None if code is None else {"code": code, "type": "invalid_request_error", "param": param}
    assert seen == {"text": text, "error": error}


@pytest.mark.parametrize("name", ["vectors without index", "vectors of one index"])
@in_one_loop
async def test_vectors_without_an_index_are_in_the_order_of_the_inputs(stack: Stack, name: str) -> None:
    answer = await stack.graphql(EMBED, {"i": {"model": name, "inputs": ["a", "b"]}})
    vectors = [{"index": 0, "vector": [0.5]}, {"index": 1, "vector": [0.25]}]
    assert answer == {"data": {"embed": {"embeddings": vectors, "usage": {"totalTokens": None}}}}
    body = {"model": name, "input": ["a", "b"]}
    passed = await stack.client.post("/v1/embeddings", json=body, headers=stack.headers())
    assert passed.content == next(iter(ANSWERS[name].pieces))


@in_one_loop
async def test_the_usage_of_unreadable_vectors_is_in_the_metrics(stack: Stack) -> None:
    before = await tokens(stack, "embedding")
    answer = await stack.graphql(EMBED, {"i": {"model": "vectors of other inputs", "inputs": ["a"]}})
    assert answer["errors"][0]["extensions"]["reason"] == "DECODE"
    assert await tokens(stack, "embedding") == (before[0] + 3, before[1])


@in_one_loop
async def test_a_whole_answer_is_passed_on_without_null_counts(stack: Stack) -> None:
    name, before = "whole with odd usage", await tokens(stack, "completion")
    answer = await stack.client.post("/v1/chat/completions", json=asking(name), headers=stack.headers())
    upstream = next(iter(ANSWERS[name].pieces))
    assert isinstance(upstream, bytes)
    assert answer.content == upstream.replace(b'"prompt_tokens": null', b'"prompt_tokens": 0')
    assert await tokens(stack, "completion") == (before[0], before[1] + 5)


@pytest.mark.parametrize("stream", [True, False])
async def test_parameters_without_a_value_are_not_sent(stream: bool) -> None:
    bodies: list[dict[str, Any]] = []

    def recorded(method: str, path: str, body: bytes) -> Scripted:
        bodies.append(json.loads(body))
        return answered(method, path, body)

    name = "no DONE" if stream else "whole with odd usage"
    silent: dict[str, Any] = {"metadata": {}, "api_base": None, "temperature": None}
    async with odd_server(recorded) as url, embedded_stack(litellm_base_url=url) as stack:
        body = asking(name, stream=stream, **silent)
        answer = await stack.client.post("/v1/chat/completions", json=body, headers=stack.headers())
    assert answer.status_code == 200
    assert [sorted(body.keys() & silent.keys()) for body in bodies] == [["temperature"]]


async def tokens(stack: Stack, kind: str) -> tuple[float, float]:
    """Return the metrics of prompt and completion tokens so far."""
    found = {"in": 0.0, "out": 0.0}
    for line in (await stack.client.get("/metrics")).text.splitlines():
        for way in found:
            if line.startswith(f'agentgraph_tokens_total{{direction="{way}",kind="{kind}"}}'):
                found[way] = float(line.split()[-1])
    return found["in"], found["out"]
