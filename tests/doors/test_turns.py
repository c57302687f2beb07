"""Approvals of tool calls, and cancelled runs and streams."""

from __future__ import annotations

import os
import uuid
from contextlib import aclosing
from typing import Any

import pytest

from tests.support import things
from tests.support.documents import COMPLETION, MESSAGE, RESPOND, STREAM
from tests.support.doors import events
from tests.support.lossy import SEND_PATH, cut_after, lossy_proxy
from tests.support.stack import Stack, any_stack, until
from tests.support.streaming import completion, expected, message_input, text_of, upstream_closed

APPROVALS = MESSAGE.replace(
    "cursor",
    "cursor ... on ApprovalRequested { edge { node { id ... on ApprovalRequestMessage { toolCalls { name } } } } }",
    1,
)


async def approval_requested(stack: Stack) -> dict[str, Any]:
    """Run a turn that requires an approval, and return the node of its ``ApprovalRequested``."""
    agent_id = await stack.make_agent()
    await stack.require_approval(agent_id, "memory_insert")
    said = message_input(agent_id, "tokens=2 delay=0 tool=memory_insert approve=1")
    turn = {"i": said, "k": str(uuid.uuid4())}
    heard = [event async for event in events(stack, "event stream", APPROVALS, turn)]
    assert (heard[-1]["outcome"], heard[-1]["finishReason"]) == ("COMPLETED", "REQUIRES_APPROVAL")
    [request] = [event for event in heard if event["__typename"] == "ApprovalRequested"]
    node: dict[str, Any] = request["edge"]["node"]
    return node


@pytest.mark.parametrize("decision", ["APPROVE", "DENY"])
async def test_a_turn_continues_after_a_decision(stack: Stack, decision: str) -> None:
    request = await approval_requested(stack)
    assert request["toolCalls"] == [{"name": "memory_insert"}]
    given = {"requestId": request["id"], "decision": decision, "reason": "because"}
    answer = (await stack.graphql(RESPOND, {"i": given}))["data"]["respondToApproval"]
    assert answer["errors"] == []
    assert answer["run"]["id"].startswith("run-")
    heard = [event async for event in events(stack, "websocket", STREAM, {"id": answer["stream"]["id"]})]
    added = [event["edge"]["node"]["__typename"] for event in heard if event["__typename"] == "MessageAdded"]
    assert {"ToolReturnMessage", "AssistantMessage"} <= set(added)
    assert (heard[-1]["outcome"], heard[-1]["finishReason"]) == ("COMPLETED", "END_TURN")
    again = (await stack.graphql(RESPOND, {"i": given}))["data"]["respondToApproval"]
    assert again["stream"] == answer["stream"]
    other = await stack.graphql(RESPOND, {"i": given | {"decision": "DENY" if decision == "APPROVE" else "APPROVE"}})
    assert other["errors"][0]["extensions"]["reason"] == "KEY_REUSED"


async def test_an_input_with_a_default_may_be_null(stack: Stack) -> None:
    """Some clients send null for the fields that a user has not filled in."""
    request = await approval_requested(stack)
    denied = {"requestId": request["id"], "decision": "DENY"}
    await things.done(stack, RESPOND, {"i": denied | {"onDisconnect": None, "idempotencyKey": None}})
    sent = message_input(await stack.make_agent(), onDisconnect=None, waitSeconds=None)
    heard = [event async for event in events(stack, "websocket", MESSAGE, {"i": sent, "k": str(uuid.uuid4())})]
    assert heard[-1]["outcome"] == "COMPLETED"
    once = await things.done(stack, things.SEND, {"i": sent | {"idempotencyKey": str(uuid.uuid4())}})
    assert once["run"]["id"].startswith("run-")
    asked = completion(stack, "tokens=2 delay=0", onDisconnect=None)
    said = [event async for event in events(stack, "websocket", COMPLETION, {"i": asked, "k": str(uuid.uuid4())})]
    assert said[-1]["outcome"] == "COMPLETED"


async def test_a_decision_on_a_message_without_a_request_is_refused(stack: Stack) -> None:
    wrong = await stack.graphql(RESPOND, {"i": {"requestId": await things.message(stack), "decision": "APPROVE"}})
    assert wrong["errors"][0]["extensions"]["reason"] == "NO_APPROVAL"


async def test_a_message_during_a_pending_approval_is_a_conflict_in_the_stream(stack: Stack) -> None:
    request = await approval_requested(stack)
    said = message_input(request["id"].split(":")[1])
    heard = [event async for event in events(stack, "websocket", MESSAGE, {"i": said, "k": str(uuid.uuid4())})]
    assert heard[-1]["outcome"] == "FAILED"
    assert heard[-1]["error"] == {"code": "CONFLICT", "reason": "APPROVAL_PENDING"}
    await things.done(stack, RESPOND, {"i": {"requestId": request["id"], "decision": "DENY"}})


async def test_an_active_run_is_listed_and_cancelled(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    before = await stack.model_stats()
    turn = {"i": message_input(agent_id, "tokens=400 delay=0.05"), "k": str(uuid.uuid4())}
    async with aclosing(events(stack, "event stream", MESSAGE, turn)) as heard:
        seen = [await anext(heard)]
        busy = """query($c: ID!) { conversation(id: $c) { activeRun { id status stream { id text lastCursor } } }
          viewer { streams(active: true) { id } } }"""
        answer = (await stack.graphql(busy, {"c": f"conversation:{agent_id}"}))["data"]
        run = answer["conversation"]["activeRun"]
        assert run["stream"]["id"] == seen[0]["stream"]["id"]
        assert answer["viewer"]["streams"] == [{"id": run["stream"]["id"]}]
        cancel = "mutation($i: CancelRunInput!) { cancelRun(input: $i) { run { id status } errors { message } } }"
        for _ in range(2):
            stopped = (await stack.graphql(cancel, {"i": {"runId": run["id"]}}))["data"]["cancelRun"]
            assert stopped == {"run": {"id": run["id"], "status": "CANCELLED"}, "errors": []}
        seen += [event async for event in heard]
    assert seen[-1]["outcome"] == "CANCELLED"
    answer = (await stack.graphql(busy, {"c": f"conversation:{agent_id}"}))["data"]
    assert answer == {"conversation": {"activeRun": None}, "viewer": {"streams": []}}

    async def quiet() -> bool:
        return (await stack.model_stats())["inflight"] == before["inflight"]

    if not stack.real:  # the real Letta finishes the model call of a cancelled run
        await until(quiet)


async def test_a_page_loaded_during_an_answer_has_the_users_message(stack: Stack) -> None:
    """Letta lists a message after the turn's first step. The stream has the message from its first event."""
    agent_id = await stack.make_agent()
    text = "what was it? [[tokens=40 delay=0.05]]"
    said = {"to": {"agentId": agent_id}, "content": [{"text": text}]}
    edge = "cursor node { __typename id text createdAt }"
    page = f"""query($c: ID!) {{ conversation(id: $c) {{ messages(last: 2) {{ edges {{ {edge} }} }}
      activeRun {{ stream {{ id userMessageEdge {{ {edge} }} text }} }} }} }}"""
    async with aclosing(events(stack, "websocket", MESSAGE, {"i": said, "k": str(uuid.uuid4())})) as heard:
        started = await anext(heard)
        loaded = (await stack.graphql(page, {"c": f"conversation:{agent_id}"}))["data"]["conversation"]
        asked = loaded["activeRun"]["stream"]["userMessageEdge"]
        assert asked["node"]["text"] == text
        assert asked["node"]["id"] == started["userMessageEdge"]["node"]["id"]
        assert asked["node"]["createdAt"] is None
        assert asked["node"]["id"] not in [one["node"]["id"] for one in loaded["messages"]["edges"]]
        assert [event async for event in heard][-1]["outcome"] == "COMPLETED"
    after = f"query($s: ID!) {{ stream(id: $s) {{ userMessageEdge {{ {edge} }} }} }}"
    stored = (await stack.graphql(after, {"s": started["stream"]["id"]}))["data"]["stream"]["userMessageEdge"]
    loaded = (await stack.graphql(page, {"c": f"conversation:{agent_id}"}))["data"]["conversation"]
    assert stored == loaded["messages"]["edges"][0]
    assert stored["cursor"] == asked["cursor"]
    assert stored["node"] == asked["node"] | {"createdAt": stored["node"]["createdAt"]}
    assert stored["node"]["createdAt"] is not None


async def test_the_stream_of_a_completion_has_no_user_message(stack: Stack) -> None:
    given = completion(stack, "tokens=1 delay=0") | {"idempotencyKey": str(uuid.uuid4())}
    query = "mutation($i: CompletionInput!) { complete(input: $i) { stream { status userMessageEdge { cursor } } } }"
    answer = await stack.graphql(query, {"i": given})
    assert answer["data"]["complete"]["stream"] == {"status": "COMPLETED", "userMessageEdge": None}


async def test_cancelling_a_stream_cancels_the_model_call(stack: Stack) -> None:
    before = await stack.model_stats()
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
    given = completion(stack, "tokens=400 delay=0.05") | {"idempotencyKey": str(uuid.uuid4())}
    stream = (await stack.graphql(start, {"i": given}))["data"]["startCompletion"]["stream"]
    cancel = "mutation($i: CancelStreamInput!) { cancelStream(input: $i) { stream { id status } } }"
    async with aclosing(events(stack, "event stream", STREAM, {"id": stream["id"]})) as heard:
        await anext(heard)
        for _ in range(2):
            stopped = (await stack.graphql(cancel, {"i": {"streamId": stream["id"]}}))["data"]["cancelStream"]["stream"]
            assert stopped["status"] == "CANCELLED"
        assert [event async for event in heard][-1]["outcome"] == "CANCELLED"
    await upstream_closed(stack, before)


async def test_a_turn_continues_although_the_connection_to_letta_breaks_twice() -> None:
    async with lossy_proxy() as proxy, any_stack(letta_base_url=proxy.url) as stack:
        proxy.target = os.environ["LETTA_BASE_URL"] if stack.real else stack.servers["letta"].url
        agent_id = await stack.make_agent()
        proxy.lose(SEND_PATH, cut_after(5))
        proxy.lose("/stream", cut_after(5))
        asked = {"i": message_input(agent_id, "tokens=30 delay=0.03"), "k": str(uuid.uuid4())}
        heard = [event async for event in events(stack, "websocket", MESSAGE, asked)]
    assert text_of(heard) == expected(30)
    assert (heard[-1]["outcome"], heard[-1]["usage"]["completionTokens"]) == ("COMPLETED", 30)
    assert [event["__typename"] for event in heard].count("MessageAdded") == 2
    assert proxy.edits == []
