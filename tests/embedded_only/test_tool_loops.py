"""Tool loops of the OpenAI SDKs: two tool calls, their results, and the answer."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.support.node import run_node
from tests.support.openai import sdk_client
from tests.support.stack import Stack

RESULTS = {"roll": "4", "weather": "sunny"}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"about": {"type": "string"}},
                "required": ["about"],
                "additionalProperties": False,
            },
        },
    }
    for name in RESULTS
]
WORDS = "Roll the dice and look outside. [[tool=roll,weather]]"
ANSWER = "The tool roll answered 4. The tool weather answered sunny."


@pytest.fixture
async def sdk(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_client(f"{stack.url}/v1", stack.token(), max_retries=0) as client:
        yield client


async def answered(sdk: openai.AsyncOpenAI, *, stream: bool, **asked: Any) -> Any:
    """Return the message of one answer."""
    if stream:
        async with sdk.chat.completions.stream(**asked) as answer:
            return (await answer.get_final_completion()).choices[0].message
    return (await sdk.chat.completions.create(**asked)).choices[0].message


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_loop_of_the_python_sdk(
    stack: Stack, sdk: openai.AsyncOpenAI, stream: bool, parallel: bool
) -> None:
    messages: list[Any] = [{"role": "user", "content": WORDS}]
    called: list[list[str]] = []
    for _ in range(6):
        asked = {"model": stack.chat_model, "messages": messages, "tools": TOOLS, "parallel_tool_calls": parallel}
        message = await answered(sdk, stream=stream, **asked)
        if not message.tool_calls:
            break
        called.append([call.function.name for call in message.tool_calls])
        messages.append(message.model_dump(exclude_unset=True, exclude_none=True))
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": RESULTS[call.function.name]}
            for call in message.tool_calls
        ]
    assert called == ([["roll", "weather"]] if parallel else [["roll"], ["weather"]])
    assert message.content == ANSWER


@pytest.mark.needs_node
async def test_a_tool_loop_of_the_node_sdk(stack: Stack) -> None:
    seen = await run_node("tool_loop.mjs", url=stack.url, token=stack.token(), model=stack.chat_model, words=WORDS)
    one_by_one, at_once = ({"called": ["roll", "weather"], "text": ANSWER, "requests": count} for count in (3, 2))
    assert seen == [one_by_one, at_once, one_by_one, at_once]


async def test_a_tool_loop_with_the_complete_mutation(stack: Stack) -> None:
    query = """mutation($i: CompletionInput!) { complete(input: $i) {
        text toolCalls { toolCallId name arguments } errors { message } } }"""
    messages: list[dict[str, Any]] = [{"role": "USER", "content": WORDS}]
    called = []
    for _ in range(6):
        given = {"model": stack.chat_model, "messages": messages, "tools": TOOLS, "idempotencyKey": str(uuid.uuid4())}
        answer = await stack.graphql(query, {"i": given})
        assert "errors" not in answer
        said = answer["data"]["complete"]
        if not said["toolCalls"]:
            break
        called += [call["name"] for call in said["toolCalls"]]
        messages.append({"role": "ASSISTANT", "toolCalls": said["toolCalls"]})
        messages += [
            {"role": "TOOL", "toolCallId": call["toolCallId"], "content": RESULTS[call["name"]]}
            for call in said["toolCalls"]
        ]
    assert (called, said["text"]) == (["roll", "weather"], ANSWER)
