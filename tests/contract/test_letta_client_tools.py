"""What Letta Code needs from Letta, and what it asks for that Letta does not have."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.upstreams import Json, Upstreams, kinds, message

TOKENS = {"streaming": True, "stream_tokens": True}
PARAMETERS = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
TOOL = {"name": "run_command", "description": "Run a command.", "parameters": PARAMETERS}
END = ["stop_reason", "usage_statistics", "[DONE]"]


def result_of(call: Json, text: str, status: str = "success") -> Json:
    return {"type": "tool", "tool_call_id": call["tool_call_id"], "tool_return": text, "status": status}


def without_pings(events: list[Any]) -> list[str]:
    return [kind for kind in kinds(events) if kind != "ping"]


async def called(up: Upstreams, agent: Json, tool: str) -> tuple[str, Json, list[Any]]:
    """Start a turn that calls the client's tool. Return the path of the messages, the call, and the events."""
    path = f"/v1/conversations/{await up.conversation(agent['id'])}/messages"
    asked = {**message(f"[[tool={tool} tokens=2]]"), **TOKENS, "client_tools": [{**TOOL, "name": tool}]}
    events = await up.events(path, asked)
    [request] = [one for one in await up.get(path) if one["message_type"] == "approval_request_message"]
    call: Json = request["tool_call"]
    return path, call, events


async def test_a_call_of_a_clients_tool_ends_the_turn_and_its_result_starts_the_next(up: Upstreams) -> None:
    path, call, events = await called(up, await up.agent(), "run_command")
    assert set(without_pings(events)) == {"approval_request_message", *END}
    assert next(one for one in events if one["message_type"] == "stop_reason")["stop_reason"] == "requires_approval"
    assert call["name"] == "run_command"
    sent = {"type": "approval", "approvals": [result_of(call, "two files")], "otid": str(uuid.uuid4())}
    went_on = await up.events(path, {"messages": [sent], **TOKENS, "client_tools": [TOOL]})
    assert set(without_pings(went_on)) == {"assistant_message", *END}, "the client has the result already"
    stored = await up.get(f"{path}?order=asc")
    assert kinds(stored)[1:] == [
        "user_message", "approval_request_message", "approval_response_message", "tool_return_message",
        "assistant_message",
    ]  # fmt: skip
    [given], decided = (
        stored[3]["approvals"],
        {stored[3][name] for name in ("approve", "approval_request_id", "reason")},
    )
    assert (given["type"], given["tool_return"], given["status"], decided) == ("tool", "two files", "success", {None})
    [returned] = stored[4]["tool_returns"]
    assert (returned["tool_return"], returned["tool_call_id"]) == ("two files", call["tool_call_id"])
    assert stored[4]["name"] is None


async def test_a_result_may_be_sent_as_a_tool_return(up: Upstreams) -> None:
    path, call, _ = await called(up, await up.agent(), "run_command")
    returned = {"type": "tool_return", "tool_returns": [result_of(call, "no such file", "error")]}
    events = await up.events(path, {"messages": [returned], "streaming": True})
    assert without_pings(events) == ["tool_return_message", "assistant_message", *END]
    told = next(one for one in events if one["message_type"] == "tool_return_message")
    assert (told["tool_return"], told["status"]) == ("no such file", "error")


async def test_a_clients_tool_replaces_the_agents_tool_of_the_same_name(up: Upstreams) -> None:
    [tool] = await up.get("/v1/tools/?names=conversation_search")
    _, call, events = await called(up, await up.agent(tool_ids=[tool["id"]]), "conversation_search")
    assert set(without_pings(events)) == {"approval_request_message", *END}
    assert '"command"' in call["arguments"] or up.real


async def test_a_message_after_the_result_is_answered(up: Upstreams) -> None:
    path, call, _ = await called(up, await up.agent(), "run_command")
    result = {"type": "approval", "approvals": [result_of(call, "two files")]}
    sent = [result, *message("And now? [[tokens=3]]")["messages"]]
    await up.events(path, {"messages": sent, **TOKENS, "client_tools": [TOOL]})
    stored = await up.get(f"{path}?order=asc")
    assert kinds(stored)[-4:] == [
        "approval_response_message", "tool_return_message", "user_message", "assistant_message",
    ]  # fmt: skip
    assert (stored[-2]["content"], stored[-1]["content"]) == ("And now? [[tokens=3]]", "tok0 tok1 tok2")


async def test_each_of_several_messages_is_stored(up: Upstreams) -> None:
    path = f"/v1/conversations/{await up.conversation((await up.agent())['id'])}/messages"
    sent = [*message("One [[tokens=1]]")["messages"], *message("Two [[tokens=2]]")["messages"]]
    await up.events(path, {"messages": sent, **TOKENS})
    stored = await up.get(f"{path}?order=asc")
    assert [one["content"] for one in stored[1:]] == ["One [[tokens=1]]", "Two [[tokens=2]]", "tok0 tok1"]


async def test_the_parts_of_a_message_are_kept(up: Upstreams) -> None:
    path = f"/v1/conversations/{await up.conversation((await up.agent())['id'])}/messages"
    parts = [{"type": "text", "text": text} for text in ("<reminder>", "hi [[tokens=1]]")]
    await up.events(path, {"messages": [{"role": "user", "content": parts}], "streaming": True})
    [sent] = [one for one in await up.get(path) if one["message_type"] == "user_message"]
    assert sent["content"] == [{**part, "signature": None} for part in parts]


@pytest.mark.parametrize("rest", ["secrets", "mcp-servers", "repositories"])
async def test_letta_has_not_the_parts_of_an_agent_that_letta_cloud_has(up: Upstreams, rest: str) -> None:
    answer = await up.letta.get(f"/v1/agents/agent-{uuid.uuid4()}/{rest}")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
