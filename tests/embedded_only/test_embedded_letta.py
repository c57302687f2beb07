from __future__ import annotations

import asyncio
from typing import Any

from tests.support.embedded import Embedded, embedded


def kinds(messages: list[Any]) -> list[str]:
    return [message if message == "[DONE]" else message["message_type"] for message in messages]


def user(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def decision(call_id: str, approve: bool, **more: str) -> dict[str, Any]:
    one = {"type": "approval", "tool_call_id": call_id, "approve": approve, **more}
    return {"messages": [{"type": "approval", "approvals": [one]}]}


async def conversation_of(services: Embedded, agent_id: str, summary: str = "s") -> str:
    made = await services.letta.post(f"/v1/conversations/?agent_id={agent_id}", json={"summary": summary})
    conversation_id: str = made.json()["id"]
    return conversation_id


async def test_without_redis_letta_refuses_background_runs() -> None:
    async with embedded(letta_redis=False) as services:
        path = f"/v1/agents/{services.agent_ids()[0]}/messages/stream"
        refused = await services.letta.post(path, json={**user("hi"), "background": True})
        assert refused.status_code == 503
        assert (await services.letta.get("/v1/runs/?background=true")).json() == []


async def test_a_refund_waits_for_approval_and_is_approved(services: Embedded) -> None:
    agent_id = services.agent_ids()[0]
    path = f"/v1/conversations/{await conversation_of(services, agent_id)}/messages"
    asked = await services.events(path, {**user("I want a refund of 12.50"), "stream_tokens": True})
    pieces = [event for event in asked if event != "[DONE]" and event["message_type"] == "approval_request_message"]
    assert pieces[0]["tool_call"]["name"] == "issue_refund"
    arguments = "".join(piece["tool_call"].get("arguments", "") for piece in pieces)
    assert arguments == '{"amount":12.5,"reason":"I want a refund of 12.50"}'
    assert pieces[0]["otid"] == pieces[0]["id"]
    assert kinds(asked)[-3:] == ["stop_reason", "usage_statistics", "[DONE]"]
    assert asked[-3]["stop_reason"] == "requires_approval"
    call_id = pieces[0]["tool_call"]["tool_call_id"]

    for sent, reason in (
        (user("hello?"), "waiting for approval"),
        (decision("call_x", approve=True), "Invalid tool call"),
    ):
        refused = await services.events(path, sent)  # as in Letta, a stream contains its refusal
        assert kinds(refused) == ["ping", "stop_reason", "error_message", "[DONE]"]
        assert refused[1]["stop_reason"] == "error"
        assert (refused[2]["error_type"], reason in refused[2]["detail"]) == ("internal_error", True)
        whole = await services.letta.post(path, json={**sent, "streaming": False})
        assert whole.status_code in {400, 409}
        assert reason in whole.json()["detail"]

    went_on = await services.events(path, {**decision(call_id, approve=True), "stream_tokens": False})
    assert kinds(went_on) == [
        "ping", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics", "[DONE]"
    ]  # fmt: skip
    assert (went_on[1]["tool_return"], went_on[1]["status"]) == ("refund issued", "success")
    assert went_on[2]["content"].startswith("Thank you. I have called issue_refund")
    stored = (await services.letta.get(f"{path}?order=asc")).json()
    assert kinds(stored)[1:] == [
        "user_message", "approval_request_message", "approval_response_message", "tool_return_message",
        "assistant_message",
    ]  # fmt: skip
    assert stored[3]["approvals"][0]["approve"] is True
    other = f"/v1/conversations/{await conversation_of(services, agent_id)}/messages"
    unasked = await services.events(other, decision(call_id, approve=True))
    assert "No tool call is currently awaiting approval" in unasked[2]["detail"]


async def test_a_denied_call_returns_an_error(services: Embedded) -> None:
    agent_id = services.agent_ids()[0]
    path = f"/v1/agents/{agent_id}/messages"
    asked = await services.tell(path, "do it [[tokens=2 tool=anything approve=1]]")
    (request,) = asked["messages"]
    assert (request["message_type"], asked["stop_reason"]["stop_reason"]) == (
        "approval_request_message", "requires_approval"
    )  # fmt: skip
    pending = await services.letta.get(f"/v1/agents/{agent_id}?include=agent.pending_approval")
    assert pending.json()["pending_approval"]["id"] == request["id"]
    denied = decision(request["tool_call"]["tool_call_id"], approve=False, reason="no")
    answer = (await services.letta.post(path, json=denied)).json()
    returned, said = answer["messages"]
    assert returned["tool_return"] == "Error: request to call tool denied. User reason: no"
    assert (returned["status"], returned["name"], said["content"]) == ("error", None, "tok0 tok1")
    assert returned["step_id"] == request["step_id"]
    assert returned["tool_returns"][0]["type"] == "tool"


async def test_an_older_decision_and_an_agents_own_approval_rule(services: Embedded) -> None:
    agent_id = services.agent_ids()[0]
    path = f"/v1/agents/{agent_id}/messages"
    free = await services.letta.patch(
        f"/v1/agents/{agent_id}/tools/approval/issue_refund?requires_approval=false", json={}
    )
    assert (free.status_code, free.json()) == (200, None)
    at_once = await services.tell(path, "a refund please")
    assert kinds(at_once["messages"]) == ["tool_call_message", "tool_return_message", "assistant_message"]
    assert at_once["usage"]["step_count"] == 2
    asked = await services.tell(path, "[[tokens=1 tool=find_order approve=1]]")
    older = {"type": "approval", "approve": True, "approval_request_id": asked["messages"][0]["id"]}
    answer = await services.letta.post(path, json={"messages": [older]})
    assert kinds(answer.json()["messages"]) == ["tool_return_message", "assistant_message"]


async def test_only_one_of_two_concurrent_decisions_is_accepted(services: Embedded) -> None:
    path = f"/v1/agents/{services.agent_ids()[0]}/messages"
    asked = await services.tell(path, "[[tokens=1 tool=find_order approve=1]]")
    decided = decision(asked["messages"][0]["tool_call"]["tool_call_id"], approve=True)
    answers = await asyncio.gather(*(services.letta.post(path, json=decided) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
