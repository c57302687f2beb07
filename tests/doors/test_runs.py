"""Runs of agents: lists, usage and steps, and the status of an agent."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from typing import Any

import pytest

from tests.support import things
from tests.support.documents import MESSAGE
from tests.support.doors import events
from tests.support.stack import Stack
from tests.support.streaming import message_input

RUNS = """query($a: ID!, $n: Int, $c: String, $active: Boolean) { agent(id: $a) { status
  runs(first: $n, after: $c, active: $active) { nodes { id status } pageInfo { hasNextPage endCursor } } } }"""
RUN = """query($r: ID!) { run(id: $r) { id usage { promptTokens completionTokens totalTokens costUsd }
  steps { id status stopReason modelName model { name } provider usage { completionTokens totalTokens }
    run { id } } } }"""
STEP = "query($id: ID!) { node(id: $id) { ... on Step { id status stopReason run { id } } } }"


EDGE = "runEdge { cursor node { id createdAt } }"
STARTS = f"""subscription($i: SendMessageInput!, $k: ID!) {{ message(input: $i, streamKey: $k) {{ __typename
  ... on StreamStarted {{ {EDGE} }} ... on ApprovalRequested {{ edge {{ node {{ id }} }} }} }} }}"""
DECIDE = f"mutation($i: RespondToApprovalInput!) {{ respondToApproval(input: $i) {{ {EDGE} }} }}"
SEND_EDGE = f"mutation($i: SendMessageInput!) {{ sendMessage(input: $i) {{ {EDGE} }} }}"


async def edges(stack: Stack, agent_id: str) -> list[dict[str, Any]]:
    """Read the list with a new query."""
    query = "query($a: ID!) { agent(id: $a) { runs { edges { cursor node { id createdAt } } } } }"
    found: list[dict[str, Any]] = (await stack.graphql(query, {"a": agent_id}))["data"]["agent"]["runs"]["edges"]
    return found


async def turn(stack: Stack, agent_id: str, directive: str = "tokens=1 delay=0") -> str:
    """Run a turn to its end, and return the id of its run."""
    return str((await things.sent(stack, directive, agent_id=agent_id))["run"]["id"])


async def searching_agent(stack: Stack) -> str:
    """Create an agent with a tool that needs no approval."""
    agent_id = await stack.make_agent()
    await stack.give_tool(agent_id, "conversation_search")
    return agent_id


async def paged(stack: Stack, agent_id: str, size: int, active: bool | None = None) -> list[str]:
    seen, cursor = [], None
    while True:
        answer = await stack.graphql(RUNS, {"a": agent_id, "n": size, "c": cursor, "active": active})
        page = answer["data"]["agent"]["runs"]
        seen += [node["id"] for node in page["nodes"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return seen


async def test_runs_page_newest_first(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    assert await paged(stack, agent_id, 2) == []
    expected = [await turn(stack, agent_id) for _ in range(4)][::-1]
    for size in (1, 2, 3, 4):
        assert await paged(stack, agent_id, size) == expected
        assert await paged(stack, agent_id, size, active=False) == expected
    first = (await stack.graphql(RUNS, {"a": agent_id, "n": 2}))["data"]["agent"]["runs"]
    await turn(stack, agent_id)
    after = await stack.graphql(RUNS, {"a": agent_id, "c": first["pageInfo"]["endCursor"]})
    assert [node["id"] for node in after["data"]["agent"]["runs"]["nodes"]] == expected[2:]


async def test_a_turns_run_has_the_edge_that_a_new_query_returns(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    await stack.require_approval(agent_id, "memory_insert")
    say = message_input(agent_id, waitSeconds=20, idempotencyKey=str(uuid.uuid4()))
    sent = await stack.graphql(SEND_EDGE, {"i": say})
    listed = [sent["data"]["sendMessage"]["runEdge"]]
    assert await edges(stack, agent_id) == listed
    say = message_input(agent_id, "tokens=2 delay=0 tool=memory_insert approve=1")
    heard = []
    async for event in events(stack, "event stream", STARTS, {"i": say, "k": str(uuid.uuid4())}):
        if event["__typename"] == "StreamStarted":
            listed.insert(0, event["runEdge"])
            assert await edges(stack, agent_id) == listed
        heard.append(event)
    [request] = [event["edge"]["node"]["id"] for event in heard if event["__typename"] == "ApprovalRequested"]
    decided = await stack.graphql(DECIDE, {"i": {"requestId": request, "decision": "APPROVE"}})
    listed.insert(0, decided["data"]["respondToApproval"]["runEdge"])
    assert await edges(stack, agent_id) == listed


async def test_a_run_has_its_usage_and_steps(stack: Stack) -> None:
    run_id = await turn(stack, await searching_agent(stack), "tokens=3 delay=0 tool=conversation_search")
    run = (await stack.graphql(RUN, {"r": run_id}))["data"]["run"]
    usage, steps = run["usage"], run["steps"]
    assert usage["promptTokens"] > 0
    assert usage["totalTokens"] == usage["promptTokens"] + usage["completionTokens"]
    assert usage["costUsd"] is None
    assert len(steps) == 2
    assert {step["status"] for step in steps} == {"SUCCESS"}
    assert {(step["modelName"], step["provider"]) for step in steps} == {(stack.chat_model, "openai")}
    assert all(step["model"] == {"name": stack.chat_model} for step in steps)
    assert sum(step["usage"]["completionTokens"] for step in steps) == usage["completionTokens"]
    assert sum(step["usage"]["totalTokens"] for step in steps) == usage["totalTokens"]
    for step in steps:
        assert step["run"] == {"id": run_id}
        assert (await stack.graphql(STEP, {"id": step["id"]}))["data"]["node"]["id"] == step["id"]


async def test_messages_have_their_step(stack: Stack) -> None:
    agent_id = await searching_agent(stack)
    run_id = await turn(stack, agent_id, "tokens=3 delay=0 tool=conversation_search")
    steps = (await stack.graphql(RUN, {"r": run_id}))["data"]["run"]["steps"]
    query = """query($a: ID!) { agent(id: $a) { messages { nodes { __typename step { id run { id } }
      ... on ToolReturnMessage { name toolCallId status text toolReturns { toolCallId status text } } } } } }"""
    nodes = (await stack.graphql(query, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"]
    by_kind = {node["__typename"]: node for node in nodes}
    assert by_kind["SystemMessage"]["step"] is None
    assert by_kind["ToolCallMessage"]["step"] == {"id": steps[0]["id"], "run": {"id": run_id}}
    assert by_kind["AssistantMessage"]["step"]["id"] == steps[1]["id"]
    returned = by_kind["ToolReturnMessage"]
    own = {key: returned[key] for key in ("toolCallId", "text")}
    assert returned["toolReturns"] == [own | {"status": returned["status"].upper()}]
    assert returned["toolReturns"][0]["status"] == "SUCCESS"


async def test_a_failed_step_has_its_status_without_internals(stack: Stack) -> None:
    run_id = await turn(stack, await stack.make_agent(), "error=401")
    answer = await stack.graphql(RUN, {"r": run_id})
    [step] = answer["data"]["run"]["steps"]
    assert (step["status"], step["stopReason"]) == ("FAILED", "llm_api_error")
    assert "raceback" not in str(answer)


async def test_an_agent_is_running_while_it_has_an_active_run(stack: Stack) -> None:
    agent_id, idle = await stack.make_agent(), await stack.make_agent()
    done = await turn(stack, agent_id)
    for one in (agent_id, idle):
        assert (await stack.graphql(RUNS, {"a": one}))["data"]["agent"]["status"] == "IDLE"
    given = message_input(agent_id, "tokens=400 delay=0.05")
    async with aclosing(events(stack, "event stream", MESSAGE, {"i": given, "k": str(uuid.uuid4())})) as heard:
        await anext(heard)
        agent = (await stack.graphql(RUNS, {"a": agent_id, "active": True}))["data"]["agent"]
        [going] = agent["runs"]["nodes"]
        assert (agent["status"], going["status"]) == ("RUNNING", "RUNNING")
        assert (await stack.graphql(RUNS, {"a": idle, "active": True}))["data"]["agent"]["status"] == "IDLE"
        assert await paged(stack, agent_id, 1) == [going["id"], done]
        assert await paged(stack, agent_id, 1, active=True) == [going["id"]]
        assert await paged(stack, agent_id, 1, active=False) == [done]
        await stack.graphql("mutation($r: ID!) { cancelRun(input: {runId: $r}) { run { id } } }", {"r": going["id"]})
    assert (await stack.graphql(RUNS, {"a": agent_id}))["data"]["agent"]["status"] == "IDLE"


@pytest.mark.parametrize("cursor", ["nonsense", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsICIuLi9hZ2VudHMiXQ", None])
async def test_a_cursor_of_a_different_list_is_refused(stack: Stack, cursor: str | None) -> None:
    agent_id = await stack.make_agent()
    await turn(stack, agent_id)
    unknown = "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsICJydW4tMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0"
    answer = await stack.graphql(RUNS, {"a": agent_id, "c": cursor or unknown})
    assert answer["errors"][0]["extensions"]["reason"] == "CURSOR"
