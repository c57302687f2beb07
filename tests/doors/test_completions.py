from __future__ import annotations

import asyncio
import json
import os
import re
import uuid
from decimal import Decimal
from typing import Any

import pytest

from app.embedded import http_client
from app.embedded.litellm.keys import make_key
from tests.support.documents import COMPLETION
from tests.support.doors import events
from tests.support.images import DOT
from tests.support.openai import Received
from tests.support.stack import ADA, GRACE, Stack, any_stack, until

REAL = os.environ.get("AGENTGRAPH_TEST_REAL") == "1"
COMPLETE = """mutation($i: CompletionInput!) { complete(input: $i) {
  text reasoning toolCalls { toolCallId name arguments } finishReason
  usage { promptTokens completionTokens totalTokens costUsd } model { name } stream { id status text }
  errors { __typename message ... on BudgetExceeded { resetsAt } } } }"""
START = """mutation($i: CompletionInput!) { startCompletion(input: $i) {
  stream { id } errors { __typename ... on BudgetExceeded { resetsAt } } } }"""
READ = """subscription($id: ID!) { stream(id: $id) { __typename
  ... on StreamEnded { outcome finishReason usage { costUsd } } ... on TextDelta { text } } }"""
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def asked(stack: Stack, text: str = "hi [[tokens=3 delay=0]]", **more: Any) -> dict[str, Any]:
    """Return the input of a completion, with a new idempotency key."""
    given = {"model": stack.chat_model, "messages": [{"role": "USER", "content": text}]}
    return {**given, "idempotencyKey": str(uuid.uuid4()), **more}


async def completed(stack: Stack, given: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer = await stack.graphql(COMPLETE, {"i": given}, **options)
    assert "errors" not in answer, answer
    payload: dict[str, Any] = answer["data"]["complete"]
    assert payload["errors"] == []
    return payload


async def refused(stack: Stack, given: dict[str, Any], query: str = COMPLETE) -> dict[str, Any]:
    """Return the extensions of an answer's only error."""
    answer = await stack.graphql(query, {"i": given})
    assert answer["data"] is None, answer
    [error] = answer["errors"]
    extensions: dict[str, Any] = error["extensions"]
    return extensions


async def last_request(stack: Stack) -> dict[str, Any]:
    """Return the last request to the real model."""
    async with http_client.client() as client:
        log = (await client.get(os.environ.get("MODEL_URL", "http://127.0.0.1:19301") + "/_log")).json()
    body: dict[str, Any] = log["log"][-1]["body"]
    return body


async def test_a_completion_has_usage_and_cost(stack: Stack) -> None:
    said = await completed(stack, asked(stack))
    assert said["text"].strip() == "tok0 tok1 tok2"
    assert (said["finishReason"], said["toolCalls"], said["reasoning"]) == ("STOP", [], None)
    assert said["usage"]["completionTokens"] == 3
    assert said["usage"]["totalTokens"] == said["usage"]["promptTokens"] + 3
    assert 0 < Decimal(said["usage"]["costUsd"]) < Decimal("0.001")
    assert "E" not in said["usage"]["costUsd"].upper()
    assert said["model"] == {"name": stack.chat_model}
    assert said["stream"]["status"] == "COMPLETED"
    assert said["stream"]["text"] == said["text"]


async def test_a_key_makes_one_model_call_even_while_it_is_in_flight(stack: Stack) -> None:
    before = (await stack.model_stats())["total"]
    given = asked(stack, "hi [[tokens=10 delay=0.02]]")
    first, second = await asyncio.gather(completed(stack, given), completed(stack, given))
    third = await completed(stack, given)
    assert first == second == third
    assert (await stack.model_stats())["total"] == before + 1
    other = await refused(stack, given | {"temperature": 1.0})
    assert (other["code"], other["reason"]) == ("CONFLICT", "KEY_REUSED")
    theirs = await completed(stack, given, user=GRACE)
    assert theirs["stream"]["id"] != first["stream"]["id"]
    assert (await stack.model_stats())["total"] == before + 2


async def test_a_started_completion_is_returned_whole_under_its_key(stack: Stack) -> None:
    before = (await stack.model_stats())["total"]
    given = asked(stack, "hi [[tokens=10 delay=0.02]]")
    begun = await stack.graphql(START, {"i": given})
    whole = await completed(stack, given)
    assert whole["stream"]["id"] == begun["data"]["startCompletion"]["stream"]["id"]
    read = [event async for event in events(stack, "websocket", READ, {"id": whole["stream"]["id"]})]
    assert "".join(event["text"] for event in read if event["__typename"] == "TextDelta") == whole["text"]
    assert read[-1]["usage"]["costUsd"] == whole["usage"]["costUsd"]
    assert (await stack.model_stats())["total"] == before + 1


async def test_a_key_starts_again_after_a_failure(stack: Stack) -> None:
    before = (await stack.model_stats())["total"]
    given = asked(stack, "hi [[tokens=4 error=cut delay=0]]")
    for asked_so_far in (1, 2):
        error = await refused(stack, given)
        assert (error["code"], error["reason"]) == ("UPSTREAM_ERROR", "MODEL")
        assert (error["service"], error["retryable"]) == ("litellm", True)
        assert (await stack.model_stats())["total"] == before + asked_so_far


@pytest.mark.parametrize(("on_disconnect", "asked_in_all"), [("CANCEL", 2), ("CONTINUE", 1)])
async def test_a_key_can_be_repeated_after_a_disconnect(stack: Stack, on_disconnect: str, asked_in_all: int) -> None:
    before = (await stack.model_stats())["total"]
    given = asked(stack, "hi [[tokens=40 delay=0.05]]", onDisconnect=on_disconnect)
    leaving = asyncio.ensure_future(stack.graphql(COMPLETE, {"i": given}))

    async def speaking() -> bool:
        streams = (await stack.graphql("{ viewer { streams { text } } }"))["data"]["viewer"]["streams"]
        return any(stream["text"] for stream in streams)

    await until(speaking)
    leaving.cancel()

    async def stopped() -> bool:
        streams = (await stack.graphql("{ viewer { streams { status } } }"))["data"]["viewer"]["streams"]
        return any(stream["status"] == "CANCELLED" for stream in streams)

    if on_disconnect == "CANCEL":
        await until(stopped)
    said = await completed(stack, given)
    assert said["text"].split() == [f"tok{n}" for n in range(40)]
    assert (await stack.model_stats())["total"] == before + asked_in_all


async def test_a_completion_cancelled_meanwhile_is_a_conflict(stack: Stack) -> None:
    given = asked(stack, "hi [[tokens=400 delay=0.05]]", onDisconnect="CONTINUE")
    waiting = asyncio.ensure_future(refused(stack, given))

    async def speaking() -> list[dict[str, Any]]:
        answer = await stack.graphql("{ viewer { streams(active: true) { id text } } }")
        return [stream for stream in answer["data"]["viewer"]["streams"] if stream["text"]]

    [stream] = await until(speaking)
    stop = "mutation($id: ID!) { cancelStream(input: {streamId: $id}) { stream { status } } }"
    await stack.graphql(stop, {"id": stream["id"]})
    error = await waiting
    assert (error["code"], error["reason"]) == ("CONFLICT", "CANCELLED")


@pytest.mark.parametrize("error", ["429", "500", "503", "400", "ctx"])
async def test_complete_and_start_completion_have_the_same_errors(stack: Stack, error: str) -> None:
    given = asked(stack, f"hi [[error={error}]]")
    whole, begun = await refused(stack, given), await refused(stack, given, START)
    for one in (whole, begun):
        one.pop("requestId")
        one.pop("retryAfterSeconds", None)
    assert whole == begun
    expected = {"429": "RATE_LIMITED", "400": "BAD_USER_INPUT", "ctx": "BAD_USER_INPUT"}
    assert whole["code"] == expected.get(error, "UPSTREAM_ERROR")


async def test_an_unknown_model_is_not_found(stack: Stack) -> None:
    error = await refused(stack, asked(stack, model="no-such-model"))
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_a_spent_budget_is_an_outcome_with_its_reset(stack: Stack) -> None:
    await stack.own_key(max_budget=0.0, budget_duration="30d")
    for query in (COMPLETE, START):
        answer = await stack.graphql(query, {"i": asked(stack)})
        assert "errors" not in answer
        [payload] = answer["data"].values()
        [outcome] = payload["errors"]
        assert outcome["__typename"] == "BudgetExceeded"
        assert outcome["resetsAt"].startswith("20")
        assert payload["stream"] is None
    embed = (
        'mutation($m: String!) { embed(input: {model: $m, inputs: ["a"]}) { embeddings { index } errors { message } } }'
    )
    answer = await stack.graphql(embed, {"m": stack.embedding_model})
    assert answer["data"]["embed"]["embeddings"] is None
    assert answer["data"]["embed"]["errors"] == [
        {"message": "Your budget for model calls is exhausted. Ask the operator for a larger budget."}
    ]


async def test_tools_are_called_and_answered(stack: Stack) -> None:
    given = asked(stack, "weather in Paris? [[tool=weather]]", tools=[WEATHER], toolChoice="auto")
    said = await completed(stack, given)
    assert said["finishReason"] == "TOOL_CALLS"
    [call] = said["toolCalls"]
    assert call["name"] == "weather"
    assert "city" in json.loads(call["arguments"])
    messages = [
        {"role": "USER", "content": "weather in Paris? [[tokens=2 delay=0]]"},
        {"role": "ASSISTANT", "toolCalls": [call]},
        {"role": "TOOL", "toolCallId": call["toolCallId"], "content": "sunny"},
    ]
    then = await completed(stack, asked(stack, messages=messages, tools=[WEATHER]))
    assert then["finishReason"] == "STOP"
    assert then["text"].split() == ["tok0", "tok1"]


async def test_options_reach_the_model(stack: Stack) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    given = asked(stack, "where? [[tokens=2 delay=0]]", responseFormat=form, temperature=0.5, maxTokens=50, seed=7)
    said = await completed(stack, given)
    if stack.real:
        sent = await last_request(stack)
        assert (sent["response_format"], sent["temperature"], sent["seed"]) == (form, 0.5, 7)
        assert sent["max_tokens"] == 50
    else:
        assert json.loads(said["text"])["city"] == "tok0 tok1"
        short = await completed(stack, asked(stack, "hi [[tokens=9 delay=0]]", maxTokens=4))
        assert (short["text"].split(), short["finishReason"]) == (["tok0", "tok1", "tok2", "tok3"], "LENGTH")


EFFORTS = [("NONE", "LOW"), ("MINIMAL", "MEDIUM"), ("LOW", "HIGH"), ("MEDIUM", None), ("HIGH", None), ("XHIGH", None)]


async def test_the_effort_and_the_verbosity_reach_the_model(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    received = Received(stack, monkeypatch)
    for effort, verbosity in [*EFFORTS, ("MAX", None), (None, None)]:
        for query in (COMPLETE, COMPLETION):
            said = str(uuid.uuid4())
            given = asked(stack, f"hi [[tokens=1 delay=0 {said}]]", reasoningEffort=effort, verbosity=verbosity)
            if query == COMPLETE:
                await completed(stack, given)
            else:
                [*_, ended] = [one async for one in events(stack, "websocket", COMPLETION, {"i": given, "k": said})]
                assert ended["outcome"] == "COMPLETED"
            body = await received.one(said)
            assert body.get("reasoning_effort") == (effort and effort.lower())
            wanted = None if stack.real else verbosity  # LiteLLM does not know the model
            assert body.get("verbosity") == (wanted and wanted.lower())


async def test_images_reach_the_model(stack: Stack) -> None:
    parts = [
        {"text": "what is this? [[tokens=2 delay=0]]"},
        {"image": {"url": DOT, "detail": "LOW"}},
        {"image": {"url": "https://example.com/cat.png"}},
    ]
    said = await completed(stack, asked(stack, messages=[{"role": "USER", "parts": parts}]))
    assert said["text"].split() == ["tok0", "tok1"]
    if stack.real:
        [message] = (await last_request(stack))["messages"]
        assert message["content"][1:] == [
            {"type": "image_url", "image_url": {"url": DOT, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        ]


CALL = {"toolCallId": "c", "name": "weather", "arguments": "{}"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"temperature": 3.0}, "RANGE"),
        ({"temperature": -0.1}, "RANGE"),
        ({"topP": 1.5}, "RANGE"),
        ({"maxTokens": -1}, "RANGE"),
        ({"maxTokens": 0}, "RANGE"),
        ({"stop": []}, "STOP"),
        ({"stop": [""]}, "STOP"),
        ({"tools": []}, "TOOLS"),
        ({"tools": ["weather"]}, "TOOLS"),
        ({"tools": [{"type": "function"}]}, "TOOLS"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "TOOLS"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": "{}"}}]}, "TOOLS"),
        ({"tools": [WEATHER, WEATHER]}, "TOOLS"),
        ({"toolChoice": "sometimes"}, "TOOL_CHOICE"),
        ({"toolChoice": "required"}, "TOOL_CHOICE"),
        ({"tools": [WEATHER], "toolChoice": {"type": "function", "function": {"name": "other"}}}, "TOOL_CHOICE"),
        ({"responseFormat": "json"}, "RESPONSE_FORMAT"),
        ({"responseFormat": {"type": "xml"}}, "RESPONSE_FORMAT"),
        ({"responseFormat": {"type": "json_schema"}}, "RESPONSE_FORMAT"),
        ({"responseFormat": {"type": "json_schema", "json_schema": {"name": "a"}}}, "RESPONSE_FORMAT"),
        ({"messages": []}, "EMPTY"),
        ({"messages": [{"role": "USER"}]}, "MESSAGE"),
        ({"messages": [{"role": "USER", "content": "a", "parts": [{"text": "a"}]}]}, "MESSAGE"),
        ({"messages": [{"role": "USER", "parts": []}]}, "MESSAGE"),
        ({"messages": [{"role": "TOOL", "content": "sunny"}]}, "MESSAGE"),
        ({"messages": [{"role": "USER", "content": "a", "toolCalls": [CALL]}]}, "MESSAGE"),
        ({"messages": [{"role": "ASSISTANT", "toolCalls": []}]}, "MESSAGE"),
        ({"messages": [{"role": "USER", "parts": [{"image": {"url": "http://example.com/a.png"}}]}]}, "IMAGE"),
        ({"messages": [{"role": "USER", "parts": [{"image": {"url": "data:text/html;base64,aGk="}}]}]}, "IMAGE"),
        ({"model": " "}, "MODEL"),
        ({"model": "gpt-4o,gpt-4.1"}, "MODEL"),
        ({"idempotencyKey": None}, "KEY"),
        ({"idempotencyKey": ""}, "KEY"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60],
)
async def test_invalid_completions_are_refused(stack: Stack, given: dict[str, Any], reason: str) -> None:
    before = (await stack.model_stats())["total"]
    for query in (COMPLETE, START):
        error = await refused(stack, asked(stack, **given), query)
        assert (error["code"], error["reason"]) == ("BAD_USER_INPUT", reason)
        assert "service" not in error
    assert (await stack.model_stats())["total"] == before


EMBED = """mutation($i: EmbedInput!) { embed(input: $i) {
  embeddings { index vector } usage { promptTokens totalTokens costUsd } model { name mode } errors { message } } }"""


async def test_embeddings_have_the_order_of_their_inputs(stack: Stack) -> None:
    given = {"model": stack.embedding_model, "inputs": ["cats purr", "dogs bark", "cats purr"]}
    answer = await stack.graphql(EMBED, {"i": given})
    assert "errors" not in answer, answer
    made = answer["data"]["embed"]
    assert [one["index"] for one in made["embeddings"]] == [0, 1, 2]
    first, second, third = (one["vector"] for one in made["embeddings"])
    assert first == third != second
    assert len(first) > 8
    assert made["usage"]["promptTokens"] == made["usage"]["totalTokens"] > 0
    assert made["model"] == {"name": stack.embedding_model, "mode": "EMBEDDING"}
    shown = (await stack.client.get("/metrics")).text
    assert f'agentgraph_tokens_total{{direction="in",kind="embedding"}} {float(made["usage"]["promptTokens"])}' in shown


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"inputs": []}, "RANGE"),
        ({"inputs": ["a"] * 101}, "RANGE"),
        ({"inputs": ["a", " "]}, "EMPTY"),
        ({"inputs": ["a" * 200_001]}, "TOO_LONG"),
        ({"dimensions": 0}, "RANGE"),
        ({"dimensions": 5000}, "RANGE"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:40],
)
async def test_invalid_inputs_of_embeddings_are_refused(stack: Stack, given: dict[str, Any], reason: str) -> None:
    error = await refused(stack, {"model": stack.embedding_model, "inputs": ["a"], **given}, EMBED)
    assert (error["code"], error["reason"]) == ("BAD_USER_INPUT", reason)


async def test_inputs_are_embedded_once_under_a_key(stack: Stack) -> None:
    given = {"model": stack.embedding_model, "inputs": ["cats purr"], "idempotencyKey": str(uuid.uuid4())}
    stack.platform.state.calls.clear()
    answers = await asyncio.gather(*(stack.graphql(EMBED, {"i": given}) for _ in range(3)))
    answers.append(await stack.graphql(EMBED, {"i": given}))
    assert len(answers[0]["data"]["embed"]["embeddings"]) == 1
    assert answers == [answers[0]] * 4
    asked_for = [call for call in stack.calls("litellm") if call.startswith("POST")]
    assert len(asked_for) == (0 if stack.real else 1)
    shown = (await stack.client.get("/metrics")).text
    tokens = float(answers[0]["data"]["embed"]["usage"]["promptTokens"])
    assert f'agentgraph_tokens_total{{direction="in",kind="embedding"}} {tokens}' in shown
    error = await refused(stack, given | {"inputs": ["dogs bark"]}, EMBED)
    assert (error["code"], error["reason"]) == ("CONFLICT", "KEY_REUSED")
    hers = await stack.graphql(EMBED, {"i": given | {"inputs": ["dogs bark"]}}, user=GRACE)
    assert len(hers["data"]["embed"]["embeddings"]) == 1


async def test_an_embedding_that_failed_frees_its_key(stack: Stack) -> None:
    given = {"model": "no-such-model", "inputs": ["a"], "idempotencyKey": str(uuid.uuid4())}
    assert (await refused(stack, given, EMBED))["reason"] == "MODEL_NOT_FOUND"
    answer = await stack.graphql(EMBED, {"i": given | {"model": stack.embedding_model}})
    assert answer["data"]["embed"]["errors"] == []


async def test_an_embedding_model_that_does_not_exist(stack: Stack) -> None:
    error = await refused(stack, {"model": "no-such-model", "inputs": ["a"]}, EMBED)
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_tokens_and_outcomes_are_counted(stack: Stack) -> None:
    said = await completed(stack, asked(stack))
    await refused(stack, asked(stack, "hi [[tokens=4 error=cut delay=0.1]]"))
    shown = (await stack.client.get("/metrics")).text
    tokens = {
        direction: float(
            re.findall(rf'agentgraph_tokens_total{{direction="{direction}",kind="completion"}} (\S+)', shown)[0]
        )
        for direction in ("in", "out")
    }
    assert tokens["in"] >= said["usage"]["promptTokens"] + 5, "the broken answer's prompt counts too"
    assert tokens["out"] >= 3 + 2
    assert 'agentgraph_streams_total{kind="completion",outcome="completed"} 1.0' in shown
    assert 'agentgraph_streams_total{kind="completion",outcome="failed"} 1.0' in shown
    frames = [
        float(re.findall(rf'agentgraph_{name}_count{{kind="completion"}} (\S+)', shown)[0])
        for name in ("first_token_seconds", "frame_gap_seconds")
    ]
    assert frames[0] == 2.0
    assert frames[1] >= 2.0


async def test_the_platforms_key_pays_for_a_user_without_one_and_names_them() -> None:
    key = os.environ["LITELLM_API_KEY"] if REAL else "sk-platform"
    async with any_stack(litellm_api_key=key) as stack:
        make_key(stack.platform.state, key, "platform")
        stack.platform.state.users[ADA].litellm_key = None
        assert (await completed(stack, asked(stack)))["text"]
        given = {"model": stack.embedding_model, "inputs": ["a"]}
        assert (await stack.graphql(EMBED, {"i": given}))["data"]["embed"]["errors"] == []
        if not stack.real:
            assert [entry["end_user"] for entry in stack.platform.state.spend[-2:]] == [ADA, ADA]
        answer = await stack.graphql("{ viewer { budget { spendUsd } } }")
        assert answer == {"data": {"viewer": {"budget": None}}}


async def test_only_the_own_keys_spend_is_shown_in_the_headers_of_v1() -> None:
    key = os.environ["LITELLM_API_KEY"] if REAL else "sk-platform"
    async with any_stack(litellm_api_key=key, cache="off") as stack:
        make_key(stack.platform.state, key, "platform")
        stack.platform.state.users[ADA].litellm_key = None
        chat = {"model": stack.chat_model, "messages": [{"role": "user", "content": "hi [[tokens=2 delay=0]]"}]}
        embeddings = {"model": stack.embedding_model, "input": "a"}
        for path, asked_for in (
            ("chat/completions", chat),
            ("chat/completions", chat | {"stream": True}),
            ("embeddings", embeddings),
        ):
            answer = await stack.client.post(f"/v1/{path}", json=asked_for, headers=stack.headers())
            assert answer.headers["x-litellm-call-id"]
            assert "x-litellm-key-spend" not in answer.headers
        await stack.own_key()
        answer = await stack.client.post("/v1/chat/completions", json=chat, headers=stack.headers())
        assert answer.headers["x-litellm-key-spend"]
