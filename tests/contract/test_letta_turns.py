"""Streams and outcomes of turns."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from tests.support.stack import until
from tests.support.upstreams import Json, Upstreams, events_so_far, kinds, message

TOKENS = {"streaming": True, "stream_tokens": True}
BACKGROUND = {**TOKENS, "background": True}
END = ["stop_reason", "usage_statistics", "[DONE]"]


async def conversation_path(up: Upstreams, **more: Any) -> str:
    return f"/v1/conversations/{await up.conversation((await up.agent(**more))['id'])}"


async def with_tool(up: Upstreams) -> Json:
    """Create an agent with the tool that searches its conversations."""
    [tool] = await up.get("/v1/tools/?names=conversation_search")
    return await up.agent(tool_ids=[tool["id"]])


def collapsed(events: list[Any]) -> list[str]:
    """Return the types of events, without pings and repetitions."""
    seen = [kind for kind in kinds(events) if kind != "ping"]
    return [kind for index, kind in enumerate(seen) if index == 0 or kind != seen[index - 1]]


async def test_tokens_are_deltas_of_one_message(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    events = await up.events(path, {**message("hi [[tokens=3 reasoning=1]]"), **TOKENS})
    assert events[0]["message_type"] == "ping"
    assert events[0]["run_id"].startswith("run-")
    assert collapsed(events) == ["reasoning_message", "assistant_message", *END]
    assistant = [one for one in events if one != "[DONE]" and one["message_type"] == "assistant_message"]
    assert "".join(one["content"] for one in assistant) == "tok0 tok1 tok2"
    assert len(assistant) > 1
    assert len({(one["id"], one["otid"], one["step_id"], one["run_id"], one["seq_id"]) for one in assistant}) == 1
    assert (assistant[0]["run_id"], assistant[0]["seq_id"]) == (events[0]["run_id"], None)
    stop, usage = events[-3], events[-2]
    assert stop == {"message_type": "stop_reason", "stop_reason": "end_turn"}
    assert (usage["completion_tokens"], usage["step_count"]) == (3, 1)
    assert usage["total_tokens"] == usage["prompt_tokens"] + 3
    stored = await up.get(f"{path}?order=asc")
    assert kinds(stored)[-3:] == ["user_message", "reasoning_message", "assistant_message"]
    last = {"id": assistant[0]["id"], "otid": assistant[0]["otid"], "content": "tok0 tok1 tok2"}
    assert {name: stored[-1][name] for name in last} == last


async def test_steps_are_whole_messages(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    events = await up.events(path, message("hi [[tokens=3 reasoning=1]]"))
    assert [one for one in kinds(events) if one != "ping"] == ["reasoning_message", "assistant_message", *END]
    reasoning, assistant = (
        one for one in events if one != "[DONE]" and one["message_type"].endswith("ng_message") | ("content" in one)
    )
    assert reasoning["id"] == assistant["id"]
    assert (reasoning["otid"] != assistant["otid"], assistant["content"]) == (True, "tok0 tok1 tok2")


async def test_a_conversation_streams_by_default_and_an_agent_does_not(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    whole = await up.tell(f"/v1/agents/{agent_id}/messages", "hi [[tokens=2]]")
    assert {"messages", "stop_reason", "usage"} <= set(whole)
    [assistant] = whole["messages"]
    assert (assistant["message_type"], assistant["content"]) == ("assistant_message", "tok0 tok1")
    assert whole["stop_reason"] == {"message_type": "stop_reason", "stop_reason": "end_turn"}
    assert (whole["usage"]["completion_tokens"], whole["usage"]["step_count"]) == (2, 1)
    own = {**message("hi [[tokens=1]]"), "agent_id": agent_id}
    assert collapsed(await up.events("/v1/conversations/default/messages", own)) == ["assistant_message", *END]
    short = (await up.letta.post(f"/v1/agents/{agent_id}/messages", json={"input": "[[tokens=1]]"})).json()
    assert short["messages"][0]["content"] == "tok0"


async def test_the_otid_of_a_sender_is_kept(up: Upstreams) -> None:
    path, otid = f"{await conversation_path(up)}/messages", str(uuid.uuid4())
    parts = [{"type": "text", "text": "hi [[tokens=1]]"}]
    body = {"messages": [{"role": "user", "content": parts, "otid": otid}], **TOKENS}
    await up.events(path, body)
    [sent] = [one for one in await up.get(path) if one["message_type"] == "user_message"]
    assert (sent["otid"], sent["content"]) == (otid, "hi [[tokens=1]]")


@pytest.mark.parametrize("tokens", [True, False])
async def test_a_tool_call_is_an_object_by_tokens_and_a_list_by_steps(up: Upstreams, tokens: bool) -> None:
    agent = await with_tool(up)
    path = f"/v1/conversations/{await up.conversation(agent['id'])}/messages"
    events = await up.events(path, {**message("[[tool=conversation_search tokens=2]]"), "stream_tokens": tokens})
    assert collapsed(events) == ["tool_call_message", "tool_return_message", "assistant_message", *END]
    calls = [one for one in events if one != "[DONE]" and one["message_type"] == "tool_call_message"]
    if tokens:
        pieces = [one["tool_calls"] for one in calls]
        assert len(pieces) > 1
        assert pieces[0]["name"] == "conversation_search"
        call = {"arguments": "".join(piece.get("arguments") or "" for piece in pieces), **pieces[0]}
        assert len({one["id"] for one in calls}) == 1
    else:
        [call] = calls[0]["tool_calls"]
        assert call == calls[0]["tool_call"]
    [returned] = [one for one in events if one != "[DONE]" and one["message_type"] == "tool_return_message"]
    assert (returned["tool_call_id"], returned["status"]) == (call["tool_call_id"], "success")
    assert isinstance(returned["tool_return"], str)
    assert events[-2]["step_count"] == 2
    stored = await up.get(f"{path}?order=asc")
    assert kinds(stored)[-4:] == ["user_message", "tool_call_message", "tool_return_message", "assistant_message"]
    [whole] = stored[-3]["tool_calls"]
    assert (whole["tool_call_id"], whole["name"]) == (call["tool_call_id"], "conversation_search")
    assert whole["arguments"].startswith("{")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("429", "llm_rate_limit"),
        ("500", "llm_error"),
        ("401", "llm_authentication"),
        ("cut", "internal_error"),
        ("ctx", "internal_error"),
    ],
)
async def test_a_failing_model_is_an_error_within_the_stream(up: Upstreams, error: str, kind: str) -> None:
    path = f"{await conversation_path(up)}/messages"
    answer = await up.letta.post(path, json={**message(f"x [[tokens=4 error={error}]]"), **TOKENS})
    assert answer.status_code == 200
    assert "event: error\ndata: " in answer.text
    events = [one async for one in events_so_far(lines(answer.text))]
    reasons = [one["stop_reason"] for one in events if one != "[DONE]" and one["message_type"] == "stop_reason"]
    assert reasons == {"cut": ["error", "llm_api_error"], "ctx": ["error"]}.get(error, ["llm_api_error"])
    [error_event] = [one for one in events if one != "[DONE]" and one["message_type"] == "error_message"]
    assert error_event["run_id"] == events[0]["run_id"]
    assert error_event["error_type"] == kind
    assert "usage_statistics" not in kinds(events)
    assert error_event["seq_id"] is None
    if kind != "internal_error":
        assert kinds(events)[-1] == "[DONE]"
        run = await up.get(f"/v1/runs/{events[0]['run_id']}")
        assert (run["status"], run["stop_reason"]) == ("failed", "llm_api_error")


async def test_a_background_run_that_fails_numbers_its_error_and_is_not_done(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    events = await up.events(path, {**message("x [[error=500]]"), **BACKGROUND})
    assert [kind for kind in kinds(events) if kind != "ping"] == ["stop_reason", "error_message"]
    assert isinstance(events[-1]["seq_id"], int)


async def lines(text: str) -> Any:
    for line in text.splitlines():
        yield line


@pytest.mark.parametrize(("error", "status", "kind"), [("429", 429, "llm_rate_limit"), ("500", 500, "llm_error")])
async def test_without_streaming_a_failing_model_is_a_status(up: Upstreams, error: str, status: int, kind: str) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}/messages"
    answer = await up.letta.post(path, json=message(f"x [[error={error}]]"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert set(answer.json()["error"]) == {"type", "message", "detail"}


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": "x"}, {}, {"messages": ["x"]}])
async def test_invalid_messages_are_refused(up: Upstreams, body: Json) -> None:
    answer = await up.letta.post(f"{await conversation_path(up)}/messages", json=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


async def test_a_busy_conversation_refuses_and_names_its_run(up: Upstreams) -> None:
    path = await conversation_path(up)
    slow = {**message("hi [[tokens=50 delay=1]]"), **TOKENS}
    async with up.letta.stream("POST", f"{path}/messages", json=slow) as stream:
        events = events_so_far(stream.aiter_lines())
        run_id = (await anext(events))["run_id"]
        refused = await up.letta.post(f"{path}/messages", json=message("hi2"))
        assert (refused.status_code, refused.json()["run_id"]) == (409, run_id)
        cancelled = await up.letta.post(f"{path}/cancel")
        assert cancelled.json() == {run_id: "cancelled"}
        rest = [one async for one in events]
    assert rest[-1] == {"message_type": "stop_reason", "stop_reason": "cancelled"}
    run = await up.get(f"/v1/runs/{run_id}")
    assert (run["status"], run["stop_reason"]) == ("cancelled", "cancelled")
    again = await up.letta.post(f"{path}/cancel")
    assert (again.status_code, list(again.json())) == (409, ["detail"])


async def test_a_run_is_cancelled_by_its_id(up: Upstreams) -> None:
    agent_id = (await up.agent())["id"]
    path = f"/v1/conversations/{await up.conversation(agent_id)}/messages"
    slow = {**message("hi [[tokens=50 delay=1]]"), **BACKGROUND}
    async with up.letta.stream("POST", path, json=slow) as stream:
        events = events_so_far(stream.aiter_lines())
        run_id = (await anext(events))["run_id"]
        cancel = f"/v1/agents/{agent_id}/messages/cancel"
        answer = await up.letta.post(cancel, json={"run_ids": [run_id]})
        assert (answer.status_code, answer.json()) == (200, {run_id: "cancelled"})
        rest = [one async for one in events]
    assert rest[-2:] == [{"message_type": "stop_reason", "stop_reason": "cancelled"}, "[DONE]"]


async def test_a_turn_continues_after_its_reader_has_left(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    async with up.letta.stream("POST", path, json={**message("hi [[tokens=20 delay=0.01]]"), **TOKENS}) as stream:
        run_id = (await anext(events_so_far(stream.aiter_lines())))["run_id"]

    async def is_over() -> bool:
        return bool((await up.get(f"/v1/runs/{run_id}"))["status"] == "completed")

    await until(is_over, 20)


async def test_a_background_run_can_be_resumed(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    events = await up.events(path, {**message("hi [[tokens=3]]"), **BACKGROUND})
    numbered = [one["seq_id"] for one in events if one != "[DONE]" and one.get("seq_id")]
    assert numbered == sorted(set(numbered))
    assert collapsed(events) == ["assistant_message", *END]
    assert all("seq_id" not in one for one in events[-3:-1])
    run_id = events[0]["run_id"]
    resume = f"/v1/runs/{run_id}/stream"
    assert text_of(await up.events(resume, {"starting_after": 0})) == "tok0 tok1 tok2"
    rest = await up.events(resume, {"starting_after": numbered[1]})
    assert [one["seq_id"] for one in rest if one != "[DONE]" and one.get("seq_id")] == numbered[2:]
    assert rest[-3:] == events[-3:]
    with pytest.raises(httpx.ReadTimeout):
        await up.letta.post(resume, json={"starting_after": 999}, timeout=0.5)
    run = await up.get(f"/v1/runs/{run_id}")
    assert (run["status"], run["background"], run["stop_reason"]) == ("completed", True, "end_turn")
    assert (await up.letta.post(resume, json={"starting_after": "x"})).status_code == 422


async def test_a_background_run_is_replayed_after_each_of_its_frames(up: Upstreams) -> None:
    path = f"/v1/conversations/{await up.conversation((await with_tool(up))['id'])}/messages"
    events = await up.events(path, {**message("[[tool=conversation_search reasoning=1 tokens=2]]"), **BACKGROUND})
    numbered = [one for one in events if one != "[DONE]" and one.get("seq_id")]
    assert [one["seq_id"] for one in numbered] == list(range(1, len(numbered) + 1))
    run_id = events[0]["run_id"]
    for one in numbered:  # the end of the stream has no numbers, but is replayed after the last number
        rest = await up.events(f"/v1/runs/{run_id}/stream", {"starting_after": one["seq_id"]})
        assert rest == [*numbered[one["seq_id"] :], *events[-3:]]


async def test_a_running_background_run_is_replayed_twice_at_the_same_time(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    async with up.letta.stream("POST", path, json={**message("hi [[tokens=12 delay=0.1]]"), **BACKGROUND}) as stream:
        events = events_so_far(stream.aiter_lines())
        run_id = (await anext(events))["run_id"]
        seen = [await anext(events) for _ in range(3)]
    resume, after = f"/v1/runs/{run_id}/stream", seen[-1]["seq_id"]
    both = await asyncio.gather(*(up.events(resume, {"starting_after": after}) for _ in range(2)))
    assert numbers(both[0]) == numbers(both[1]) == list(range(after + 1, 14))
    assert kinds(both[0])[-3:] == kinds(both[1])[-3:] == END
    assert text_of(seen) + text_of(both[0]) == " ".join(f"tok{number}" for number in range(12))


def numbers(events: list[Any]) -> list[int]:
    """Return the numbers of events, without keep-alive events that repeat the last number."""
    return [one["seq_id"] for one in events if one != "[DONE]" and one.get("seq_id") and one["message_type"] != "ping"]


async def test_a_failed_background_run_is_replayed_to_its_error(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    events = await up.events(path, {**message("x [[error=500]]"), **BACKGROUND})
    rest = await up.events(f"/v1/runs/{events[0]['run_id']}/stream", {"starting_after": 1})
    assert rest == [one for one in events if one["message_type"] != "ping"]


async def test_a_cancelled_background_run_is_replayed_to_its_end(up: Upstreams) -> None:
    path = await conversation_path(up)
    slow = {**message("hi [[tokens=50 delay=0.3]]"), **BACKGROUND}
    async with up.letta.stream("POST", f"{path}/messages", json=slow) as stream:
        events = events_so_far(stream.aiter_lines())
        run_id = (await anext(events))["run_id"]
        seen = [await anext(events) for _ in range(3)]
        await up.letta.post(f"{path}/cancel")
        seen += [one async for one in events]
    rest = await up.events(f"/v1/runs/{run_id}/stream", {"starting_after": 1})
    assert rest[-2:] == [{"message_type": "stop_reason", "stop_reason": "cancelled"}, "[DONE]"]
    assert numbers(rest) == numbers(seen)


def text_of(events: list[Any]) -> str:
    return "".join(one["content"] for one in events if one != "[DONE]" and one["message_type"] == "assistant_message")


async def test_a_running_background_run_can_be_resumed(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    async with up.letta.stream("POST", path, json={**message("hi [[tokens=8 delay=0.1]]"), **BACKGROUND}) as stream:
        run_id = (await anext(events_so_far(stream.aiter_lines())))["run_id"]
    events = await up.events(f"/v1/runs/{run_id}/stream", {"starting_after": 0})
    assert text_of(events) == " ".join(f"tok{number}" for number in range(8))
    assert kinds(events)[-3:] == END


async def test_a_foreground_run_cannot_be_resumed(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    foreground = await up.events(path, message("[[tokens=1]]"))
    refused = await up.letta.post(f"/v1/runs/{foreground[0]['run_id']}/stream", json={"starting_after": 0})
    assert (refused.status_code, list(refused.json())) == (400, ["detail"])
    assert (await up.letta.post(f"/v1/runs/run-{uuid.uuid4()}/stream", json={})).status_code == 404


async def asked_for_leave(up: Upstreams, **more: Any) -> tuple[str, Json, list[Any]]:
    """Start a turn that waits for an approval. Return the conversation's path, the tool call, and the events."""
    agent = await with_tool(up)
    rule = {"requires_approval": True}
    path = f"/v1/agents/{agent['id']}/tools/approval/conversation_search"
    answer = await up.letta.patch(path, params={"requires_approval": "true"}, json=rule)
    assert answer.status_code == 200
    path = f"/v1/conversations/{await up.conversation(agent['id'])}/messages"
    events = await up.events(path, {**message("[[tool=conversation_search tokens=2]]"), **more})
    [request] = [one for one in await up.get(path) if one["message_type"] == "approval_request_message"]
    call: Json = request["tool_call"]
    return path, call, events


def decision(call_id: str, *, approve: bool, **more: str) -> Json:
    one = {"type": "approval", "tool_call_id": call_id, "approve": approve, **more}
    return {"messages": [{"type": "approval", "approvals": [one]}]}


async def test_a_call_that_requires_approval_ends_the_turn_and_is_approved(up: Upstreams) -> None:
    path, call, events = await asked_for_leave(up, **BACKGROUND)
    assert collapsed(events) == ["approval_request_message", *END]
    assert events[-3]["stop_reason"] == "requires_approval"
    pieces = [one for one in events if one != "[DONE]" and one["message_type"] == "approval_request_message"]
    assert pieces[0]["tool_call"]["name"] == "conversation_search"
    assert {one["otid"] for one in pieces} == {pieces[0]["id"]}
    went_on = await up.events(path, {**decision(call["tool_call_id"], approve=True), **BACKGROUND})
    assert collapsed(went_on) == ["tool_return_message", "assistant_message", *END]
    stored = await up.get(f"{path}?order=asc")
    assert kinds(stored)[1:] == [
        "user_message", "approval_request_message", "approval_response_message", "tool_return_message",
        "assistant_message",
    ]  # fmt: skip
    assert stored[3]["approvals"][0]["approve"] is True
    assert (stored[3]["otid"], stored[3]["step_id"]) == (None, None)


async def test_a_denied_call_is_returned_as_an_error(up: Upstreams) -> None:
    path, call, _ = await asked_for_leave(up)
    denied = await up.events(path, decision(call["tool_call_id"], approve=False, reason="no"))
    assert collapsed(denied) == ["tool_return_message", "assistant_message", *END]
    returned = next(one for one in denied if one["message_type"] == "tool_return_message")
    assert (returned["status"], returned["tool_return"]) == (
        "error", "Error: request to call tool denied. User reason: no"
    )  # fmt: skip


async def test_a_stream_of_tokens_has_no_result_of_a_denied_call(up: Upstreams) -> None:
    path, call, _ = await asked_for_leave(up)
    denied = await up.events(path, {**decision(call["tool_call_id"], approve=False, reason="no"), **TOKENS})
    assert collapsed(denied) == ["assistant_message", *END]
    stored = await up.get(f"{path}?order=asc")
    assert kinds(stored)[-2:] == ["tool_return_message", "assistant_message"]


async def test_a_message_to_a_conversation_that_waits_for_a_decision_is_refused_in_the_stream(up: Upstreams) -> None:
    path, _, _ = await asked_for_leave(up)
    for sent, reason in (
        (message("hello?"), "waiting for approval"),
        (decision("call_x", approve=True), "Invalid tool call"),
    ):
        refused = await up.events(path, sent)
        assert kinds(refused)[-3:] == ["stop_reason", "error_message", "[DONE]"]
        error_event = next(one for one in refused if one != "[DONE]" and one["message_type"] == "error_message")
        assert reason in f"{error_event['detail']} {error_event['message']}"


async def test_a_decision_without_a_pending_approval_is_refused(up: Upstreams) -> None:
    path = f"{await conversation_path(up)}/messages"
    refused = await up.events(path, decision("call_x", approve=True))
    error_event = next(one for one in refused if one != "[DONE]" and one["message_type"] == "error_message")
    assert "No tool call is currently awaiting approval" in f"{error_event['detail']} {error_event['message']}"


async def test_two_messages_to_an_agent_are_both_accepted(up: Upstreams) -> None:
    path = f"/v1/agents/{(await up.agent())['id']}/messages"
    both = await asyncio.gather(*(up.tell(path, f"[[tokens={number} first=0.2]]") for number in (1, 2)))
    assert sorted(one["messages"][0]["content"] for one in both) == ["tok0", "tok0 tok1"]
