"""Runs: an agent's, what they used, the steps they took, and whether an agent is at work."""

from __future__ import annotations

import uuid
from contextlib import aclosing
from typing import Any

import pytest

from tests.support.documents import MESSAGE
from tests.support.doors import code_of, events
from tests.support.stack import GRACE, Stack

SEND = """mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id status } } }"""
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
    """The list as a fresh query has it."""
    query = "query($a: ID!) { agent(id: $a) { runs { edges { cursor node { id createdAt } } } } }"
    found: list[dict[str, Any]] = (await stack.graphql(query, {"a": agent_id}))["data"]["agent"]["runs"]["edges"]
    return found


async def turn(stack: Stack, agent_id: str, words: str, **who: str) -> str:
    """A whole turn's run."""
    given = {"to": {"agentId": agent_id}, "content": [{"text": words}], "idempotencyKey": str(uuid.uuid4())}
    answer = await stack.graphql(SEND, {"i": given | {"waitSeconds": 20}}, **who)
    run_id: str = answer["data"]["sendMessage"]["run"]["id"]
    return run_id


async def searching_agent(stack: Stack) -> str:
    """An agent with a tool that needs no leave."""
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
    expected = [await turn(stack, agent_id, "hi [[tokens=1 delay=0]]") for _ in range(4)][::-1]
    for size in (1, 2, 3, 4):
        assert await paged(stack, agent_id, size) == expected
        assert await paged(stack, agent_id, size, active=False) == expected
    first = (await stack.graphql(RUNS, {"a": agent_id, "n": 2}))["data"]["agent"]["runs"]
    await turn(stack, agent_id, "newer [[tokens=1 delay=0]]")
    after = await stack.graphql(RUNS, {"a": agent_id, "c": first["pageInfo"]["endCursor"]})
    assert [node["id"] for node in after["data"]["agent"]["runs"]["nodes"]] == expected[2:]


async def test_a_turns_run_comes_in_its_place_in_the_list(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    await stack.require_approval(agent_id, "memory_insert")
    say = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=1 delay=0]]"}], "waitSeconds": 20}
    sent = await stack.graphql(SEND_EDGE, {"i": say | {"idempotencyKey": str(uuid.uuid4())}})
    listed = [sent["data"]["sendMessage"]["runEdge"]]
    assert await edges(stack, agent_id) == listed
    say = {
        "to": {"agentId": agent_id},
        "content": [{"text": "do it [[tokens=2 delay=0 tool=memory_insert approve=1]]"}],
    }
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


async def test_a_run_tells_what_it_used_and_each_step_it_took(stack: Stack) -> None:
    run_id = await turn(stack, await searching_agent(stack), "do it [[tokens=3 delay=0 tool=conversation_search]]")
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


async def test_messages_tell_the_step_they_came_with(stack: Stack) -> None:
    agent_id = await searching_agent(stack)
    run_id = await turn(stack, agent_id, "do it [[tokens=3 delay=0 tool=conversation_search]]")
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


async def test_a_step_that_failed_says_so_and_nothing_of_why(stack: Stack) -> None:
    run_id = await turn(stack, await stack.make_agent(), "hi [[error=401]]")
    answer = await stack.graphql(RUN, {"r": run_id})
    [step] = answer["data"]["run"]["steps"]
    assert (step["status"], step["stopReason"]) == ("FAILED", "llm_api_error")
    assert "raceback" not in str(answer)


async def test_an_agent_at_work_says_so(stack: Stack) -> None:
    agent_id, idle = await stack.make_agent(), await stack.make_agent()
    done = await turn(stack, agent_id, "hi [[tokens=1 delay=0]]")
    for one in (agent_id, idle):
        assert (await stack.graphql(RUNS, {"a": one}))["data"]["agent"]["status"] == "IDLE"
    given = {"to": {"agentId": agent_id}, "content": [{"text": "hi [[tokens=400 delay=0.05]]"}]}
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
async def test_a_cursor_of_another_list(stack: Stack, cursor: str | None) -> None:
    agent_id = await stack.make_agent()
    await turn(stack, agent_id, "hi [[tokens=1 delay=0]]")
    unknown = "WyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsICJydW4tMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0"
    answer = await stack.graphql(RUNS, {"a": agent_id, "c": cursor or unknown})
    assert answer["errors"][0]["extensions"]["reason"] == "CURSOR"


async def test_runs_and_steps_of_another_user_are_not_found(stack: Stack) -> None:
    graces = await stack.make_agent(GRACE)
    run_id = await turn(stack, graces, "mine [[tokens=1 delay=0]]", user=GRACE)
    step_id = (await stack.graphql(RUN, {"r": run_id}, user=GRACE))["data"]["run"]["steps"][0]["id"]
    await stack.make_agent()
    stack.platform.state.calls.clear()
    for query, given in ((RUNS, {"a": graces}), (RUN, {"r": run_id}), (STEP, {"id": step_id})):
        assert code_of(await stack.graphql(query, given)) == "NOT_FOUND"
    assert stack.calls("letta") == [f"GET /v1/runs/{run_id}", f"GET /v1/steps/{step_id}"] or stack.real
