"""Turns that wait for a person, and what is stopped."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from typing import Any

import pytest

from tests.support.documents import COMPLETION, MESSAGE, RESPOND, STREAM
from tests.support.doors import Refused, events
from tests.support.stack import GRACE, Stack, until
from tests.support.streaming import completion, expected, text_of

APPROVALS = MESSAGE.replace(
    "cursor",
    "cursor ... on ApprovalRequested { edge { node { id ... on ApprovalRequestMessage { toolCalls { name } } } } }",
    1,
)


async def asked_for_leave(stack: Stack) -> dict[str, Any]:
    """A turn that stopped for an approval: its ``ApprovalRequested``."""
    agent_id = await stack.make_agent()
    await stack.require_approval(agent_id, "memory_insert")
    said = {
        "to": {"agentId": agent_id},
        "content": [{"text": "do it [[tokens=2 delay=0 tool=memory_insert approve=1]]"}],
    }
    turn = {"i": said, "k": str(uuid.uuid4())}
    heard = [event async for event in events(stack, "event stream", APPROVALS, turn)]
    assert (heard[-1]["outcome"], heard[-1]["finishReason"]) == ("COMPLETED", "REQUIRES_APPROVAL")
    [request] = [event for event in heard if event["__typename"] == "ApprovalRequested"]
    node: dict[str, Any] = request["edge"]["node"]
    return node


@pytest.mark.parametrize("decision", ["APPROVE", "DENY"])
async def test_a_turn_goes_on_when_it_is_decided(stack: Stack, decision: str) -> None:
    request = await asked_for_leave(stack)
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
    """A client that fills in every field of an input has null for what its user did not choose."""
    request = await asked_for_leave(stack)
    decided = await stack.graphql(
        RESPOND, {"i": {"requestId": request["id"], "decision": "DENY", "onDisconnect": None, "idempotencyKey": None}}
    )
    assert decided["data"]["respondToApproval"]["errors"] == []
    sent = {
        "to": {"agentId": await stack.make_agent()},
        "content": [{"text": "hi [[tokens=2 delay=0]]"}],
        "onDisconnect": None,
        "waitSeconds": None,
    }
    heard = [event async for event in events(stack, "websocket", MESSAGE, {"i": sent, "k": str(uuid.uuid4())})]
    assert heard[-1]["outcome"] == "COMPLETED"
    send = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } errors { message } } }"
    once = await stack.graphql(send, {"i": sent | {"idempotencyKey": str(uuid.uuid4())}})
    assert once["data"]["sendMessage"]["run"]["id"].startswith("run-")
    asked = completion(stack, "tokens=2 delay=0", onDisconnect=None)
    said = [event async for event in events(stack, "websocket", COMPLETION, {"i": asked, "k": str(uuid.uuid4())})]
    assert said[-1]["outcome"] == "COMPLETED"


async def test_a_decision_is_its_owners_and_on_a_request_alone(stack: Stack) -> None:
    request = await asked_for_leave(stack)
    given = {"requestId": request["id"], "decision": "APPROVE"}
    refused = await stack.graphql(RESPOND, {"i": given}, user=GRACE)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    scope = request["id"].split(":")[1]
    messages = await stack.graphql(
        "query($a: ID!) { agent(id: $a) { messages { nodes { id __typename } } } }", {"a": scope}
    )
    said = next(m["id"] for m in messages["data"]["agent"]["messages"]["nodes"] if m["__typename"] == "UserMessage")
    wrong = await stack.graphql(RESPOND, {"i": given | {"requestId": said}})
    assert wrong["errors"][0]["extensions"]["reason"] == "NO_APPROVAL"


async def test_what_is_said_while_a_decision_is_waited_for_is_a_conflict_in_the_stream(stack: Stack) -> None:
    request = await asked_for_leave(stack)
    said = {"to": {"agentId": request["id"].split(":")[1]}, "content": [{"text": "hello? [[tokens=1 delay=0]]"}]}
    heard = [event async for event in events(stack, "websocket", MESSAGE, {"i": said, "k": str(uuid.uuid4())})]
    assert heard[-1]["outcome"] == "FAILED"
    assert heard[-1]["error"] == {"code": "CONFLICT", "reason": "APPROVAL_PENDING"}
    answer = await stack.graphql(RESPOND, {"i": {"requestId": request["id"], "decision": "DENY"}})
    assert answer["data"]["respondToApproval"]["errors"] == []


async def test_a_run_is_seen_followed_and_stopped(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    said = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=400 delay=0.05]]"}]}
    before = await stack.model_stats()
    turn = {"i": said, "k": str(uuid.uuid4())}
    async with aclosing(events(stack, "event stream", MESSAGE, turn)) as heard:
        seen = [await anext(heard)]
        busy = """query($c: ID!) { conversation(id: $c) { activeRun { id status stream { id text lastCursor } } }
          viewer { streams(active: true) { id } } }"""
        answer = (await stack.graphql(busy, {"c": f"conversation:{agent_id}"}))["data"]
        run = answer["conversation"]["activeRun"]
        assert run["stream"]["id"] == seen[0]["stream"]["id"]
        assert answer["viewer"]["streams"] == [{"id": run["stream"]["id"]}]
        cancel = "mutation($i: CancelRunInput!) { cancelRun(input: $i) { run { id status } errors { message } } }"
        not_mine = await stack.graphql(cancel, {"i": {"runId": run["id"]}}, user=GRACE)
        assert not_mine["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        for _ in range(2):
            stopped = (await stack.graphql(cancel, {"i": {"runId": run["id"]}}))["data"]["cancelRun"]
            assert stopped == {"run": {"id": run["id"], "status": "CANCELLED"}, "errors": []}
        seen += [event async for event in heard]
    assert seen[-1]["outcome"] == "CANCELLED"
    answer = (await stack.graphql(busy, {"c": f"conversation:{agent_id}"}))["data"]
    assert answer == {"conversation": {"activeRun": None}, "viewer": {"streams": []}}

    async def quiet() -> bool:
        return (await stack.model_stats())["inflight"] == before["inflight"]

    if not stack.real:  # the real Letta lets a model call run out, whatever becomes of its run
        await until(quiet)


async def test_a_page_loaded_during_an_answer_has_the_users_message(stack: Stack) -> None:
    """Letta lists a message when the turn's first step is over; the stream has it from the first event on."""
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


async def test_nothing_was_sent_in_a_completion(stack: Stack) -> None:
    given = completion(stack, "tokens=1 delay=0") | {"idempotencyKey": str(uuid.uuid4())}
    query = "mutation($i: CompletionInput!) { complete(input: $i) { stream { status userMessageEdge { cursor } } } }"
    answer = await stack.graphql(query, {"i": given})
    assert answer["data"]["complete"]["stream"] == {"status": "COMPLETED", "userMessageEdge": None}


async def test_a_stream_is_stopped_and_the_model_with_it(stack: Stack) -> None:
    before = await stack.model_stats()
    start = "mutation($i: CompletionInput!) { startCompletion(input: $i) { stream { id } } }"
    given = completion(stack, "tokens=400 delay=0.05") | {"idempotencyKey": str(uuid.uuid4())}
    stream = (await stack.graphql(start, {"i": given}))["data"]["startCompletion"]["stream"]
    cancel = "mutation($i: CancelStreamInput!) { cancelStream(input: $i) { stream { id status } } }"
    async with aclosing(events(stack, "event stream", STREAM, {"id": stream["id"]})) as heard:
        await anext(heard)
        not_mine = await stack.graphql(cancel, {"i": {"streamId": stream["id"]}}, user=GRACE)
        assert not_mine["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        for _ in range(2):
            stopped = (await stack.graphql(cancel, {"i": {"streamId": stream["id"]}}))["data"]["cancelStream"]["stream"]
            assert stopped["status"] == "CANCELLED"
        assert [event async for event in heard][-1]["outcome"] == "CANCELLED"

    async def left() -> bool:
        now = await stack.model_stats()
        return now["disconnected"] == before["disconnected"] + 1 and now["inflight"] == before["inflight"]

    await until(left)


async def test_a_memory_block_is_written_by_its_owner_alone(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    read = 'query($a: ID!) { agent(id: $a) { memoryBlocks(labels: ["human"]) { id value } } }'
    [block] = (await stack.graphql(read, {"a": agent_id}))["data"]["agent"]["memoryBlocks"]
    write = """mutation($i: UpdateMemoryBlockInput!) { updateMemoryBlock(input: $i) {
      memoryBlock { id value } errors { message } } }"""
    given = {"blockId": block["id"], "value": "Prefers plain words."}
    refused = await stack.graphql(write, {"i": given | {"value": "stolen"}}, user=GRACE)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert (await stack.graphql(read, {"a": agent_id}))["data"]["agent"]["memoryBlocks"] == [block]
    written = (await stack.graphql(write, {"i": given}))["data"]["updateMemoryBlock"]
    assert written == {"memoryBlock": {"id": block["id"], "value": given["value"]}, "errors": []}
    assert (await stack.graphql(read, {"a": agent_id}))["data"]["agent"]["memoryBlocks"] == [written["memoryBlock"]]


async def test_a_message_to_a_run_or_stream_of_another_user_is_refused_at_every_endpoint(stack: Stack) -> None:
    variables = {"i": completion(stack, "tokens=1 delay=0"), "k": str(uuid.uuid4())}
    heard = [event async for event in events(stack, "event stream", COMPLETION, variables)]
    assert text_of(heard) == expected(1)
    with pytest.raises(Refused):
        await anext(events(stack, "multipart", STREAM, {"id": heard[0]["stream"]["id"]}, user=GRACE))
