from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from app.embedded.faults import Fault
from app.embedded.people import ADA
from tests.support import things
from tests.support.agentfiles import PUBLISH, agent_file, as_admin, create, created, publish, second_version
from tests.support.documents import AGENTS, DELETE_AGENT, UPDATE_AGENT, UPGRADE_AGENT
from tests.support.doors import refused
from tests.support.stack import Stack


def rows(stack: Stack) -> list[dict[str, Any]]:
    return [row for row in stack.platform.state.users[ADA].rows if row["template_id"] == "greeter"]


def facts(answer: dict[str, Any]) -> tuple[str, str, str, bool]:
    [error] = answer["errors"]
    said = error["extensions"]
    return said["code"], said["reason"], said["service"], said["retryable"]


async def test_a_dead_letta_does_not_open_the_breaker_of_ams(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    await stack.servers["letta"].stop()
    for _ in range(7):
        answer = await create(stack, "k")
        assert facts(answer) == ("UPSTREAM_ERROR", "STATUS", "ams", True)
        assert answer["data"] is None
    assert "errors" not in await stack.graphql("{ viewer { agents { totalCount } } }")
    assert rows(stack) == []


async def test_a_model_without_permission_has_only_its_name(stack: Stack) -> None:
    run_id = await things.run(stack)
    key = stack.platform.state.users[ADA].litellm_key
    assert key is not None
    stack.platform.state.keys[key]["info"]["models"] = [stack.embedding_model]
    query = """query($r: ID!) { run(id: $r) {
      agent { modelName model { name } } steps { modelName model { name } } } }"""
    named = {"modelName": stack.chat_model, "model": None}
    answer = await stack.graphql(query, {"r": run_id})
    assert answer == {"data": {"run": {"agent": named, "steps": [named]}}}


async def test_five_failures_of_ams_open_the_breaker_of_a_creation(stack: Stack) -> None:
    stack.platform.faults["ams"] = Fault(status=500, path="/agents/create")
    for _ in range(5):
        assert facts(await create(stack, "k")) == ("UPSTREAM_ERROR", "STATUS", "ams", True)
    assert facts(await create(stack, "k")) == ("UPSTREAM_UNAVAILABLE", "BREAKER_OPEN", "ams", True)


async def test_a_creation_whose_answer_was_cut_is_answered_under_its_key(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    stack.platform.faults["ams"] = Fault(cut_after=10, path="/agents/create")
    assert facts(await create(stack, "k")) == ("UPSTREAM_ERROR", "CUT", "ams", True)
    assert len(rows(stack)) == 1
    stack.platform.faults.clear()
    again = await create(stack, "k")
    assert again["data"]["createAgent"]["agent"]["id"] == rows(stack)[0]["agent_id"]
    assert len(rows(stack)) == 1


async def test_fields_that_cannot_be_read_after_a_creation_are_null_with_errors(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    stack.platform.faults["ams"] = Fault(down=True, path="/me")
    answer = await create(stack, "k")
    assert answer["data"]["createAgent"] == {"agentEdge": None, "agent": None, "errors": []}
    assert sorted(error["path"][-1] for error in answer["errors"]) == ["agent", "agentEdge"]
    stack.platform.faults.clear()
    again = await create(stack, "k")
    assert again["data"]["createAgent"]["agent"]["id"] == rows(stack)[0]["agent_id"]


async def test_without_ams_mutations_of_agents_fail_and_do_not_reach_letta(stack: Stack) -> None:
    agent_id = stack.platform.state.users[ADA].rows[0]["agent_id"]
    await stack.servers["ams"].stop()
    stack.platform.state.calls.clear()
    for query, given in ((UPDATE_AGENT, {"name": "x"}), (UPGRADE_AGENT, {}), (DELETE_AGENT, {})):
        answer = await stack.graphql(query, {"i": {"agentId": agent_id, **given}})
        assert refused(answer) == ("UPSTREAM_UNAVAILABLE", "CONNECT")
    published = await as_admin(stack, PUBLISH, {"i": {"source": agent_file(stack)}})
    assert facts(published) == ("UPSTREAM_UNAVAILABLE", "CONNECT", "ams", True)
    assert stack.calls("letta") == []


async def test_without_letta_mutations_and_searches_of_agents_fail(stack: Stack) -> None:
    await publish(stack, agent_file(stack), second_version(stack))
    agent_id = await created(stack, "k", version="1.0.0")
    await stack.servers["letta"].stop()
    for given in ({"name": "x"}, {"tags": ["x"]}):
        answer = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, **given}})
        assert facts(answer) == ("UPSTREAM_UNAVAILABLE", "CONNECT", "letta", True)
    for query in (UPGRADE_AGENT, DELETE_AGENT):
        answer = await stack.graphql(query, {"i": {"agentId": agent_id}})
        assert facts(answer) == ("UPSTREAM_ERROR", "STATUS", "ams", True)
    filtered = await stack.graphql(AGENTS, {"filter": {"search": "x"}})
    assert refused(filtered) == ("UPSTREAM_UNAVAILABLE", "CONNECT")
    plain = await stack.graphql('{ viewer { agents(filter: {templateId: "template:greeter"}) { totalCount } } }')
    assert plain["data"]["viewer"]["agents"] == {"totalCount": 1}


async def test_an_agent_missing_in_letta_cannot_be_updated_but_deleted(stack: Stack) -> None:
    agent_id = stack.platform.state.users[ADA].rows[0]["agent_id"]
    stack.platform.state.drop_agent(stack.platform.state.agents[agent_id])
    for given in ({"name": "x"}, {"tags": ["x"]}):
        answer = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, **given}})
        assert refused(answer) == ("UPSTREAM_ERROR", "STATE_MISSING")
    deleted = await stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_id}})
    assert deleted["data"]["deleteAgent"]["deletedAgentId"] == agent_id


async def test_the_number_of_calls_for_each_mutation_of_an_agent(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    calls = stack.platform.state.calls

    async def cost(query: str, given: dict[str, Any]) -> dict[str, int]:
        calls.clear()
        answer = await stack.graphql(query, {"i": given})
        assert "errors" not in answer, answer
        plain = (re.sub(r"agent-[^/?]+|\?.*", "", call["path"]) for call in calls)
        return Counter(f"{call['service']} {call['method']} {path}" for call, path in zip(calls, plain, strict=True))

    made = "mutation($i: CreateAgentInput!) { createAgent(input: $i) { agentEdge { node { id version } } } }"
    given = {"templateId": "template:greeter", "variables": {"company": "C"}, "idempotencyKey": "k"}
    by_ams = {"letta POST /v1/agents/": 1}
    assert await cost(made, given) == {"ams POST /agents/create": 1, "ams GET /me": 1, **by_ams}
    agent_id = rows(stack)[0]["agent_id"]
    changed = "mutation($i: UpdateAgentInput!) { updateAgent(input: $i) { agent { id version } } }"
    read, write = "letta GET /v1/agents/", "letta PATCH /v1/agents/"
    assert await cost(changed, {"agentId": agent_id, "name": "x"}) == {"ams GET /me": 2, write: 1}
    assert await cost(changed, {"agentId": agent_id, "tags": ["t"]}) == {"ams GET /me": 2, read: 1, write: 1}
    assert await cost(changed.replace(" version", ""), {"agentId": agent_id, "name": "y"}) == {
        "ams GET /me": 1,
        write: 1,
    }
    gone = "mutation($i: DeleteAgentInput!) { deleteAgent(input: $i) { deletedAgentId } }"
    by_ams = {"letta DELETE /v1/agents/": 1}
    assert await cost(gone, {"agentId": agent_id}) == {"ams GET /me": 1, "ams DELETE /agents/": 1, **by_ams}


@pytest.mark.uncached
async def test_the_calls_for_a_filtered_list_do_not_depend_on_its_fields(stack: Stack) -> None:
    names = [f"helper {number}" for number in range(120)]
    for name in names:
        await stack.make_agent(name=name)
    calls = stack.platform.state.calls
    query = """query($f: AgentFilter) { viewer { agents(first: 30, filter: $f) {
      totalCount nodes { name tags variables tools { name } } } } }"""
    for search, total, cost in (("helper 11", 11, 1), ("helper", 120, 2)):
        calls.clear()
        page = (await stack.graphql(query, {"f": {"search": search}}))["data"]["viewer"]["agents"]
        assert page["totalCount"] == total
        assert {node["name"] for node in page["nodes"]} <= set(names)
        assert len(stack.calls("letta")) == cost
        assert [call.split("?")[0] for call in stack.calls("ams")] == ["GET /me", "GET /agents"]


async def test_equal_upgrade_plans_are_deduplicated(stack: Stack) -> None:
    agent_id = stack.platform.state.users[ADA].rows[0]["agent_id"]
    plans = " ".join(f"{name}: upgradePlan({to}) {{ warnings }}" for name, to in (("a", "to: null"), ("b", "to: null")))
    answer = await stack.graphql(
        f'{{ agent(id: "{agent_id}") {{ {plans} c: upgradePlan(to: "1.2.0") {{ warnings }} }} }}'
    )
    assert "errors" not in answer
    assert stack.calls("ams").count(f"POST /agents/{agent_id}/upgrade") == 2


async def test_variables_of_more_than_100_agents_are_read_in_two_calls(stack: Stack) -> None:
    for number in range(101):
        await stack.make_agent(name=f"agent {number}")
    stack.platform.state.calls.clear()
    fields = "nodes { variables }"
    query = f"{{ viewer {{ a: agents(first: 100) {{ {fields} }} b: agents(last: 100) {{ {fields} }} }} }}"
    answer = await stack.graphql(query)
    assert "errors" not in answer
    asked = [call for call in stack.calls("ams") if call.startswith("GET /agents?")]
    assert sorted(call.count("agent-") for call in asked) == [4, 100]
