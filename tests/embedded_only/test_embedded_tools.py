"""The embedded model's tool calls: their choice and form, and the answers to their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.support.embedded import Embedded, events_of

INTEGER = {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTIONS = [{"name": "roll", "parameters": INTEGER}, {"name": "weather", "parameters": CITY}]
TOOLS = [{"type": "function", "function": function} for function in FUNCTIONS]
RESULTS = {"roll": "4", "weather": "sunny"}


def message_of(chunks: list[Any]) -> dict[str, Any]:
    """Join chunks to a message."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"] if chunk != "[DONE]" else {}
        message["content"] += delta.get("content") or ""
        if piece := delta.get("function_call"):
            call = message.setdefault("function_call", {"name": "", "arguments": ""})
            call["name"] += piece.get("name", "")
            call["arguments"] += piece["arguments"]
        for piece in delta.get("tool_calls") or []:
            calls = message.setdefault("tool_calls", [])
            if piece["index"] == len(calls):
                calls.append({"id": piece["id"], "type": "function", "function": {"name": "", "arguments": ""}})
            function = calls[piece["index"]]["function"]
            function["name"] += piece["function"].get("name", "")
            function["arguments"] += piece["function"]["arguments"]
    return message


async def said(
    services: Embedded, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **more: Any
) -> tuple[dict[str, Any], str]:
    """Return the model's message and the finish reason."""
    body = {"model": "gpt-4.1", "messages": messages, "stream": stream, **({} if more else {"tools": TOOLS}), **more}
    answer = await services.litellm.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    if not stream:
        [choice] = answer.json()["choices"]
        return choice["message"], choice["finish_reason"]
    events = events_of(answer.text)
    assert events.pop() == "[DONE]"
    return message_of(events), events[-1]["choices"][0]["finish_reason"]


def results_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": RESULTS[call["function"]["name"]]}
        for call in message["tool_calls"]
    ]


def called(message: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "directive", ["[[tool=roll,weather]]", "[[tool=roll]] and [[tool=weather]]", "[[tools=roll,weather]]"]
)
async def test_two_tools_are_called_at_once_and_their_results_used(
    services: Embedded, directive: str, stream: bool
) -> None:
    messages = [{"role": "user", "content": directive}]
    message, finish = await said(services, messages, stream=stream)
    assert finish == "tool_calls"
    assert called(message) == [("roll", {"sides": 1}), ("weather", {"city": directive})]
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    messages += [message, *results_of(message)]
    message, finish = await said(services, messages, stream=stream)
    assert (message["content"], finish) == ("The tool roll answered 4. The tool weather answered sunny.", "stop")
    assert "tool_calls" not in message


@pytest.mark.parametrize("stream", [False, True])
async def test_without_parallel_calls_tools_are_called_in_sequence(services: Embedded, stream: bool) -> None:
    messages = [{"role": "user", "content": "[[tool=weather,roll]]"}]
    names = []
    while True:
        message, _ = await said(services, messages, stream=stream, tools=TOOLS, parallel_tool_calls=False)
        if not message.get("tool_calls"):
            break
        names.append([name for name, _ in called(message)])
        messages += [message, *results_of(message)]
    assert names == [["weather"], ["roll"]]
    assert message["content"] == "The tool weather answered sunny. The tool roll answered 4."


@pytest.mark.parametrize("stream", [False, True])
async def test_a_legacy_function_is_called_and_its_result_used(services: Embedded, stream: bool) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "[[tool=roll,weather]]"}]
    names = []
    while True:
        message, finish = await said(services, messages, stream=stream, functions=FUNCTIONS, function_call="auto")
        if not message.get("function_call"):
            break
        assert finish == "function_call"
        names.append(message["function_call"]["name"])
        messages += [message, {"role": "function", "name": names[-1], "content": RESULTS[names[-1]]}]
    assert names == ["roll", "weather"]
    assert (message["content"], finish) == ("The tool roll answered 4. The tool weather answered sunny.", "stop")


async def test_each_user_message_calls_its_tool_again(services: Embedded) -> None:
    messages = [{"role": "user", "content": "[[tool=roll]]"}]
    for _ in range(2):
        message, _ = await said(services, messages)
        assert [name for name, _ in called(message)] == ["roll"]
        messages += [message, *results_of(message)]
        message, _ = await said(services, messages)
        assert message["content"] == "The tool roll answered 4."
        messages += [message, {"role": "user", "content": "once more [[tool=roll]]"}]
    messages[-1] = {"role": "user", "content": "thank you"}
    message, _ = await said(services, messages)
    assert "thank you" in message["content"]


async def test_a_tool_named_twice_is_called_twice(services: Embedded) -> None:
    messages = [{"role": "user", "content": "[[tool=roll,roll]]"}]
    message, _ = await said(services, messages)
    assert [name for name, _ in called(message)] == ["roll", "roll"]
    [first, _] = results_of(message)
    again, _ = await said(services, [*messages, message, first])
    assert [name for name, _ in called(again)] == ["roll"]


NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("more", "first", "then"),
    [
        ({"tools": TOOLS, "tool_choice": "auto"}, "roll", None),
        ({"tools": TOOLS, "tool_choice": "none"}, None, None),
        ({"tools": TOOLS, "tool_choice": NAMED}, "weather", "weather"),
        ({"tools": TOOLS, "tool_choice": "required"}, "roll", "weather"),
        ({"tools": TOOLS[:1], "tool_choice": "required"}, "roll", "roll"),
        ({"tools": TOOLS[1:], "tool_choice": "auto"}, None, None),
        ({"functions": FUNCTIONS, "function_call": {"name": "weather"}}, "weather", "weather"),
        ({"functions": FUNCTIONS, "function_call": "none"}, None, None),
    ],
)
async def test_a_forced_tool_choice_also_applies_after_a_result(
    services: Embedded, more: dict[str, Any], first: str | None, then: str | None
) -> None:
    """As in OpenAI's API, a forced tool choice forces a call at each request."""
    messages = [{"role": "user", "content": "[[tool=roll]]"}]
    for expected in (first, then):
        message, _ = await said(services, messages, **more)
        names = [name for name, _ in called(message)]
        if "function_call" in message:
            names = [message["function_call"]["name"]]
        assert names == ([expected] if expected else [])
        given = {"role": "function", "name": "weather", "content": "sunny"}
        messages += [message, *(results_of(message) if "tool_calls" in message else [given])]


async def test_a_choice_of_an_unoffered_tool_is_refused(services: Embedded) -> None:
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}], "tools": TOOLS[:1]}
    answer = await services.litellm.post("/v1/chat/completions", json=body | {"tool_choice": NAMED})
    assert answer.status_code == 400
    assert "'weather' not found" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"role": "tool", "tool_call_id": "call_1", "content": "a\n b."}, "The tool roll answered a b."),
        ({"role": "tool", "tool_call_id": "call_1", "content": ""}, "The tool roll answered nothing."),
        (
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "6"}]},
            "The tool roll answered 6.",
        ),
        ({"role": "tool", "tool_call_id": "call_1", "content": "x" * 300}, f"The tool roll answered {'x' * 200}…."),
        ({"role": "tool", "tool_call_id": "call_9", "content": "4"}, "The tool answered 4."),
        ({"role": "tool", "content": "4"}, "The tool answered 4."),
        (
            {"role": "tool", "tool_call_id": "call_1", "content": "[[tool=weather]]"},
            "The tool roll answered [[tool=weather]].",
        ),
    ],
)
async def test_tool_results_of_any_form_are_answered(services: Embedded, result: dict[str, Any], text: str) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "roll", "arguments": "{}"}}
    asked: dict[str, Any] = {"role": "user", "content": "[[tool=roll]]"}
    messages = [asked, {"role": "assistant", "tool_calls": [call]}, result]
    message, finish = await said(services, messages)
    assert (message["content"], finish) == (text, "stop")


async def test_a_response_format_also_applies_after_a_tool_result(services: Embedded) -> None:
    messages = [{"role": "user", "content": "[[tool=roll]]"}]
    more: dict[str, Any] = {"tools": TOOLS, "response_format": {"type": "json_object"}}
    message, _ = await said(services, messages, **more)
    message, _ = await said(services, [*messages, message, *results_of(message)], **more)
    assert json.loads(message["content"]) == {"answer": "The tool roll answered 4."}


NESTED = {
    "type": "object",
    "properties": {
        "count": {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "null"}]},
        "unit": {"$ref": "#/$defs/Unit"},
        "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        "fixed": {"const": "yes"},
        "perhaps": {"type": ["number", "null"]},
    },
    "required": ["count", "unit", "places", "fixed", "perhaps"],
    "$defs": {
        "Unit": {"type": "string", "enum": ["C", "F"]},
        "Place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
    },
}
FITTING = {"count": 5, "unit": "C", "places": [{"x": 1.0}], "fixed": "yes", "perhaps": 1.0}


@pytest.mark.parametrize("stream", [False, True])
async def test_schemas_that_sdks_generate_are_followed(services: Embedded, stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": NESTED}}]
    form = {"type": "json_schema", "json_schema": {"name": "look", "schema": NESTED}}
    asked = [{"role": "user", "content": "[[tool=look]]"}]
    message, _ = await said(services, asked, stream=stream, tools=tools)
    assert called(message) == [("look", FITTING)]
    message, _ = await said(services, asked, stream=stream, response_format=form)
    assert json.loads(message["content"]) == FITTING


@pytest.mark.parametrize(
    "kids",
    [
        {"type": "array", "items": {"$ref": "#"}},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"$ref": "#/properties/kids"},
        {"$ref": "#/nowhere"},
    ],
)
async def test_a_recursive_schema_ends(services: Embedded, kids: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"kids": kids}, "required": ["kids"]}
    form = {"type": "json_schema", "json_schema": {"name": "tree", "schema": schema}}
    message, _ = await said(services, [{"role": "user", "content": "x"}], response_format=form)
    assert "kids" in json.loads(message["content"])


@pytest.mark.parametrize("directive", ["tokens=abc", "tokens", "tokens=-3", "delay=abc", "delay=-1", "first=nan"])
async def test_an_invalid_directive_is_ignored(services: Embedded, directive: str) -> None:
    message, finish = await said(services, [{"role": "user", "content": f"hi [[{directive}]]"}])
    assert finish == "stop"
    assert "settle what a good result looks like" in message["content"]
    message, _ = await said(services, [{"role": "user", "content": f"hi [[tokens=2 delay=0]] [[{directive}]]"}])
    assert message["content"]
