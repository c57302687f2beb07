"""Agents whose models Letta calls with OpenAI's Responses API, through the gateway's proxy.

LiteLLM is embedded, because the real one has no model with such a name. With real services, Letta is real.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from app.embedded.litellm.answers import body_of
from app.embedded.litellm.responses import routes
from app.embedded.seed import CHAT_ONLY
from tests.support.documents import RESPOND, STREAM, STREAM_FIELDS
from tests.support.doors import events
from tests.support.images import DOT
from tests.support.letta_stack import letta_stack
from tests.support.openai import ask
from tests.support.response_events import events_in
from tests.support.stack import ADA, GRACE, Stack, until
from tests.support.streaming import expected, text_of, upstream_closed
from tests.support.usage import rises

NATIVE, BRIDGED = "gpt-5-mini", "o3-mini"
"""Models of which LiteLLM forwards and translates Responses requests."""
MODELS = pytest.mark.parametrize("model", [NATIVE, BRIDGED])
TOOL = "memory_insert"
REQUESTS = json.loads((Path(__file__).parents[1] / "support" / "letta_responses.json").read_text())
"""Requests as Letta 0.16.8 makes them: with each type of message that a conversation can have, and with each option."""

MESSAGE = f"""subscription($i: SendMessageInput!, $k: ID!) {{ message(input: $i, streamKey: $k) {{
  {STREAM_FIELDS} ... on StreamStarted {{ run {{ id }} }} ... on ReasoningDelta {{ text }}
  ... on ApprovalRequested {{ edge {{ node {{ id }} }} }} }} }}"""
HISTORY = """query($a: ID!) { agent(id: $a) {
  runs { nodes { status usage { promptTokens completionTokens } } }
  messages(last: 20) { nodes { __typename text } } } }"""
PROXIED = r'agentgraph_requests_total\{method="POST",route="/api/\S+/(\S+)",status="(\d+)"\} (\d+)'


@pytest.fixture
async def circle() -> AsyncIterator[Stack]:
    async with letta_stack() as stack, stack.circle():
        stack.platform.state.models[BRIDGED] = stack.platform.state.models[CHAT_ONLY]
        await stack.own_key(ADA)
        await stack.own_key(GRACE)
        yield stack


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the bodies of the Responses requests that LiteLLM receives."""
    bodies: list[dict[str, Any]] = []

    async def recorded(request: Request) -> dict[str, Any]:
        body = await body_of(request)
        bodies.append(body)
        return body

    monkeypatch.setattr(routes, "body_of", recorded)
    return bodies


async def make_agent(stack: Stack, model: str = NATIVE) -> str:
    agent_id = await stack.make_agent()
    await stack.change_model(agent_id, model=model, reasoning_effort="low")
    return agent_id


async def proxied(stack: Stack) -> dict[tuple[str, str], int]:
    """Return the number of model calls that came through the proxy, by path and status."""
    found = re.findall(PROXIED, (await stack.client.get("/metrics")).text)
    return {(path, status): int(float(count)) for path, status, count in found}


async def turn(stack: Stack, agent_id: str, directive: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    said = {"to": {"agentId": agent_id}, "content": [{"text": f"hi [[{directive}]]"}, *parts]}
    return [event async for event in events(stack, "event stream", MESSAGE, {"i": said, "k": str(uuid.uuid4())})]


async def history(stack: Stack, agent_id: str) -> list[tuple[str, str | None]]:
    """Return the types and texts of the agent's messages."""
    nodes = (await stack.graphql(HISTORY, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"]
    return [(node["__typename"].removesuffix("Message"), node.get("text")) for node in nodes][1:]


def items(body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in body["input"] if item.get("type") == kind]


@MODELS
async def test_the_model_calls_of_a_turn_are_charged_to_its_user(circle: Stack, model: str) -> None:
    agent_id, before, graces = await make_agent(circle, model), await circle.spent(), await circle.spent(GRACE)
    heard = await turn(circle, agent_id, "tokens=200 delay=0")
    assert text_of(heard) == expected(200)
    assert (heard[-1]["outcome"], heard[-1]["finishReason"]) == ("COMPLETED", "END_TURN")
    assert await proxied(circle) == {("responses", "200"): 1}
    [run] = (await circle.graphql(HISTORY, {"a": agent_id}))["data"]["agent"]["runs"]["nodes"]
    assert run["status"] == "COMPLETED"
    assert run["usage"]["completionTokens"] == 200
    assert run["usage"]["promptTokens"] > 0
    await rises(circle.spent, before)
    assert await circle.spent(GRACE) == graces


@MODELS
async def test_a_second_turn_has_the_history(circle: Stack, model: str, received: list[dict[str, Any]]) -> None:
    agent_id = await make_agent(circle, model)
    first = await turn(circle, agent_id, "tokens=3 delay=0 reasoning=1")
    assert [event["__typename"] for event in first].count("ReasoningDelta") > 0
    second = await turn(circle, agent_id, "tokens=2 delay=0")
    assert [text_of(first), text_of(second), second[-1]["outcome"]] == [expected(3), expected(2), "COMPLETED"]
    assert [text for kind, text in await history(circle, agent_id) if kind == "Assistant"] == [expected(3), expected(2)]
    assert [kind for kind, _ in await history(circle, agent_id)].count("Reasoning") == 1
    texts = [item["content"] for item in received[-1]["input"] if item.get("role") == "assistant"]
    assert [str(text).strip() for text in texts] == [expected(3)]
    thoughts = items(received[-1], "reasoning")
    assert len(thoughts) == (circle.real_letta and model == NATIVE)
    assert all(thought["encrypted_content"].startswith("gAAAAA") for thought in thoughts)
    assert [body["store"] for body in received] == [False] * len(received)


@MODELS
async def test_a_tools_result_is_in_the_next_request(circle: Stack, model: str, received: list[dict[str, Any]]) -> None:
    agent_id = await make_agent(circle, model)
    await circle.give_tool(agent_id, TOOL)
    heard = await turn(circle, agent_id, f"tool={TOOL} tokens=3 delay=0 reasoning=1")
    assert (text_of(heard), heard[-1]["outcome"]) == (expected(3), "COMPLETED")
    assert await proxied(circle) == {("responses", "200"): 2}
    assert [kind for kind, _ in await history(circle, agent_id) if kind != "Reasoning"] == [
        "User",
        "ToolCall",
        "ToolReturn",
        "Assistant",
    ]
    if circle.real_letta:
        [call], [result] = (items(received[-1], kind) for kind in ("function_call", "function_call_output"))
        assert (call["name"], result["call_id"]) == (TOOL, call["call_id"])
    again = await turn(circle, agent_id, "tokens=1 delay=0")
    assert (text_of(again), again[-1]["outcome"]) == ("tok0", "COMPLETED")


@pytest.mark.parametrize("decision", ["APPROVE", "DENY"])
async def test_a_turn_continues_after_a_decision(circle: Stack, decision: str) -> None:
    agent_id = await make_agent(circle)
    await circle.require_approval(agent_id, TOOL)
    heard = await turn(circle, agent_id, f"tool={TOOL} tokens=2 delay=0 reasoning=1 approve=1")
    assert heard[-1]["finishReason"] == "REQUIRES_APPROVAL"
    [request] = [event["edge"]["node"] for event in heard if event["__typename"] == "ApprovalRequested"]
    decided = {"requestId": request["id"], "decision": decision}
    [followed] = (await circle.graphql(RESPOND, {"i": decided}))["data"]["respondToApproval"]["stream"].values()
    rest = [event async for event in events(circle, "event stream", STREAM, {"id": followed})]
    assert (text_of(rest), rest[-1]["outcome"]) == (expected(2), "COMPLETED")
    again = await turn(circle, agent_id, "tokens=1 delay=0")
    assert (text_of(again), again[-1]["outcome"]) == ("tok0", "COMPLETED")
    assert {status for _, status in await proxied(circle)} == {"200"}


async def test_an_image_reaches_the_model(circle: Stack, received: list[dict[str, Any]]) -> None:
    agent_id = await make_agent(circle)
    heard = await turn(circle, agent_id, "tokens=1 delay=0", {"image": {"url": DOT}})
    assert (text_of(heard), heard[-1]["outcome"]) == ("tok0", "COMPLETED")
    [parts] = [item["content"] for item in received[-1]["input"] if item.get("role") == "user"]
    assert [part["image_url"] for part in parts if part["type"] == "input_image"] == [DOT]


@MODELS
async def test_letta_gets_a_whole_response(circle: Stack, model: str) -> None:
    agent_id = await make_agent(circle, model)
    said = {"messages": [{"role": "user", "content": "hi [[tokens=2 delay=0 reasoning=1]]"}]}
    async with circle.letta() as letta:
        answer = await letta.post(f"/v1/agents/{agent_id}/messages", json=said)
    assert answer.status_code == 200, answer.text
    texts = [one["content"] for one in answer.json()["messages"] if one["message_type"] == "assistant_message"]
    assert [text.strip() for text in texts] == [expected(2)]
    assert await proxied(circle) == {("responses", "200"): 1}


async def test_a_stopped_turn_closes_the_models_stream(circle: Stack) -> None:
    agent_id, before = await make_agent(circle), await circle.model_stats()
    said = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=40 delay=0.05]]"}]}
    cancel = "mutation($r: ID!) { cancelRun(input: {runId: $r}) { run { status } errors { message } } }"
    async with aclosing(events(circle, "event stream", MESSAGE, {"i": said, "k": str(uuid.uuid4())})) as heard:
        seen = [await anext(heard)]
        while seen[-1]["__typename"] != "TextDelta":
            seen.append(await anext(heard))
        stopped = (await circle.graphql(cancel, {"r": seen[0]["run"]["id"]}))["data"]["cancelRun"]
        assert stopped == {"run": {"status": "CANCELLED"}, "errors": []}
        seen += [event async for event in heard]
    assert seen[-1]["outcome"] == "CANCELLED"
    if circle.real_letta:  # Letta 0.16.8 reads the model's answer to a cancelled run to the end

        async def quiet() -> bool:
            return (await circle.model_stats())["inflight"] == before["inflight"]

        await until(quiet)
    else:
        await upstream_closed(circle, before)


@MODELS
@pytest.mark.parametrize("failure", ["cut", "errdone"])
async def test_a_failure_in_mid_stream_fails_the_turn(circle: Stack, model: str, failure: str) -> None:
    agent_id = await make_agent(circle, model)
    heard = await turn(circle, agent_id, f"tokens=10 delay=0 error={failure}")
    assert text_of(heard).strip() == expected(5)
    assert (heard[-1]["outcome"], heard[-1]["error"]) == ("FAILED", {"code": "UPSTREAM_ERROR", "reason": "MODEL"})
    again = await turn(circle, agent_id, "tokens=1 delay=0")
    assert (text_of(again), again[-1]["outcome"]) == ("tok0", "COMPLETED")


@MODELS
@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        ("400", "400", ("UPSTREAM_ERROR", "MODEL")),
        ("429", "429", ("RATE_LIMITED", "MODEL_RATE_LIMIT")),
        ("ctx", "400", ("BAD_USER_INPUT", "CONTEXT_LENGTH")),
    ],
)
async def test_a_refused_model_call_fails_the_turn(
    circle: Stack, model: str, failure: str, status: str, error: tuple[str, str]
) -> None:
    agent_id = await make_agent(circle, model)
    heard = await turn(circle, agent_id, f"error={failure}")
    assert heard[-1]["outcome"] == "FAILED"
    assert tuple(heard[-1]["error"].values()) == error
    assert set(await proxied(circle)) == {("responses", status)}


async def test_a_turn_fails_with_budget_exceeded_if_the_budget_is_spent(circle: Stack) -> None:
    await circle.own_key(max_budget=0.0)
    heard = await turn(circle, await make_agent(circle), "tokens=2 delay=0")
    assert (heard[-1]["outcome"], heard[-1]["error"]["code"]) == ("FAILED", "BUDGET_EXCEEDED")
    assert await proxied(circle) == {("responses", "402"): 1}


@MODELS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
async def test_all_that_letta_sends_is_accepted(circle: Stack, model: str, name: str, *, stream: bool) -> None:
    body = REQUESTS[name] | {"model": model} | ({"stream": True} if stream else {})
    answer = await ask(circle, "proxy/responses", body)
    assert answer.status_code == 200, answer.text
    assert '"status":"completed"' in answer.text


@MODELS
@pytest.mark.parametrize("path", ["/v1/responses", "proxy/responses"])
async def test_reasoning_has_a_summary(circle: Stack, model: str, path: str) -> None:
    body = {"model": model, "input": "hi [[tokens=1 delay=0 reasoning=1]]", "include": ["reasoning.encrypted_content"]}
    whole = (await ask(circle, path, body)).json()
    found = events_in((await ask(circle, path, body | {"stream": True})).text)
    ended = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    thoughts = [
        item for item in whole["output"] + found[-1]["response"]["output"] + ended if item["type"] == "reasoning"
    ]
    assert len(thoughts) == 3
    for thought in thoughts:
        [part] = thought["summary"]
        assert part["text"].startswith("They want something")
    empty = "" if path.startswith("proxy") else None
    secrets = [thought.get("encrypted_content") for thought in thoughts]
    assert [bool(secret) for secret in secrets] == [model == NATIVE] * 3
    assert model == NATIVE or secrets == [empty] * 3
    begun = [event["item"] for event in found if event["type"] == "response.output_item.added"]
    assert [item["summary"] for item in begun if item["type"] == "reasoning"] == [[]]
