from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.embedded.faults import Fault
from tests.support import things
from tests.support.agentfiles import agent_file, create, created, publish, second_version
from tests.support.documents import AGENTS, DELETE_AGENT, UPDATE_AGENT, UPGRADE_AGENT
from tests.support.doors import refused
from tests.support.stack import ADA, GRACE, Stack, until

PLAN = """query($id: ID!, $to: String) { agent(id: $id) { version upgradePlan(to: $to) {
  steps { fromVersion toVersion actions } diff { op path value } warnings } } }"""


async def listed(stack: Stack, **arguments: Any) -> dict[str, Any]:
    answer = await stack.graphql(AGENTS, arguments)
    assert "errors" not in answer, answer
    page: dict[str, Any] = answer["data"]["viewer"]["agents"]
    return page


async def test_a_created_agent_has_the_edge_that_a_new_query_returns(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    answer = await create(stack, "k", name="Door-keeper's aide_1", variables={"company": "Sea & Sons"})
    payload = answer["data"]["createAgent"]
    agent_id = payload["agent"]["id"]
    assert payload == {
        "agentEdge": {"cursor": payload["agentEdge"]["cursor"], "node": {"id": agent_id}},
        "agent": {
            "id": agent_id,
            "name": "Door-keeper's aide_1",
            "version": "1.0.0",
            "variables": {"company": "Sea & Sons"},
            "template": {"slug": "greeter"},
            "owner": {"id": f"user:{ADA}", "email": "ada@example.com"},
        },
        "errors": [],
    }
    assert (await listed(stack, first=1))["edges"] == [payload["agentEdge"]]
    await stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_id}})


async def test_an_idempotency_key_creates_one_agent(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    twice = await asyncio.gather(*(create(stack, "k", variables={"company": "A", "b": 1}) for _ in range(3)))
    later = await create(stack, "k", variables={"b": 1, "company": "A"})
    ids = {answer["data"]["createAgent"]["agent"]["id"] for answer in (*twice, later)}
    assert len(ids) == 1
    assert (await listed(stack, filter={"templateId": "template:greeter"}))["totalCount"] == 1
    other = await create(stack, "k", variables={"company": "B", "b": 1})
    assert refused(other) == ("CONFLICT", "KEY_REUSED")
    assert other["errors"][0]["extensions"]["retryable"] is False
    grace = await create(stack, "k", user=GRACE)
    assert grace["data"]["createAgent"]["agent"]["id"] not in ids


async def test_agents_created_in_one_request_have_the_edges_that_a_new_query_returns(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    fields = "agentEdge { cursor } agent { id }"
    given = '{templateId: "template:greeter", variables: {company: "C"}, idempotencyKey: "%s"}'
    parts = (f"{name}: createAgent(input: {given % name}) {{ {fields} }}" for name in ("a", "b"))
    answer = await stack.graphql(f"mutation {{ {' '.join(parts)} }}")
    made = [answer["data"][name] for name in ("b", "a")]
    edges = (await listed(stack, filter={"templateId": "template:greeter"}))["edges"]
    assert edges == [{"cursor": one["agentEdge"]["cursor"], "node": {"id": one["agent"]["id"]}} for one in made]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"templateId": "template:never-was"}, ("NOT_FOUND", None)),
        ({"templateId": "greeter"}, ("NOT_FOUND", None)),
        ({"version": "9.9.9"}, ("NOT_FOUND", None)),
        ({"version": "newest"}, ("BAD_USER_INPUT", "VERSION")),
        ({"name": "a/b"}, ("BAD_USER_INPUT", "NAME")),
        ({"name": "  "}, ("BAD_USER_INPUT", "NAME")),
        ({"name": "n" * 201}, ("BAD_USER_INPUT", "NAME")),
        ({"variables": ["company"]}, ("BAD_USER_INPUT", "VARIABLES")),
        ({"variables": {"company": "c" * 100_001}}, ("BAD_USER_INPUT", "TOO_LONG")),
        ({"idempotencyKey": None}, ("BAD_USER_INPUT", "KEY")),
        ({"idempotencyKey": ""}, ("BAD_USER_INPUT", "KEY")),
        ({"idempotencyKey": "k\r\nX-User-Id: " + GRACE}, ("BAD_USER_INPUT", "KEY")),
        ({"idempotencyKey": "schlüssel"}, ("BAD_USER_INPUT", "KEY")),
    ],
)
async def test_invalid_input_creates_no_agent(
    stack: Stack, given: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    await publish(stack, agent_file(stack))
    stack.platform.state.calls.clear()
    answer = await create(stack, "k", **given)
    assert refused(answer) == expected
    assert answer["data"] is None
    assert stack.calls("letta") == []
    if expected[0] == "BAD_USER_INPUT":
        assert stack.calls("ams") == []


@pytest.mark.parametrize("depth", [51, 300, 900])
async def test_variables_nested_too_deeply_are_refused(stack: Stack, depth: int) -> None:
    deep: Any = "bottom"
    for level in range(depth):
        deep = [deep] if level % 2 and level < depth - 1 else {"d": deep}
    answer = await create(stack, "k", templateId="template:support-bot", variables=deep)
    assert refused(answer) == ("BAD_USER_INPUT", "VARIABLES")


async def test_missing_variables_are_named(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    payload = (await create(stack, "k", variables={}))["data"]["createAgent"]
    assert (payload["agent"], payload["agentEdge"]) == (None, None)
    [error] = payload["errors"]
    assert (error["__typename"], error["problems"]) == ("VariablesInvalid", ["company is required"])
    assert (await create(stack, "k"))["data"]["createAgent"]["errors"] == []


async def test_an_update_keeps_the_tag_of_the_platform(stack: Stack) -> None:
    agent_id = await stack.make_agent(name="Before")
    given = {"name": "After", "description": "Says hello.", "tags": ["red", "blue", "red"]}
    answer = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, **given}})
    assert "errors" not in answer, answer
    agent = answer["data"]["updateAgent"]["agent"]
    assert (agent["name"], agent["description"], sorted(agent["tags"])) == ("After", "Says hello.", ["blue", "red"])
    assert agent["model"] == {"name": stack.chat_model}
    less = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, "description": "", "tags": []}})
    agent = less["data"]["updateAgent"]["agent"]
    assert (agent["name"], agent["description"] or "", agent["tags"]) == ("After", "", [])
    found = await listed(stack, filter={"search": "after"})
    assert agent_id in [node["id"] for node in found["nodes"]]  # found by the platform's tag


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("BAD_USER_INPUT", "EMPTY")),
        ({"name": ""}, ("BAD_USER_INPUT", "NAME")),
        ({"description": "d" * 10_001}, ("BAD_USER_INPUT", "TEXT")),
        ({"tags": [f"user:{GRACE}"]}, ("BAD_USER_INPUT", "TAG")),
        ({"tags": [""]}, ("BAD_USER_INPUT", "TAG")),
        ({"tags": ["a\nb"]}, ("BAD_USER_INPUT", "TAG")),
        ({"tags": [str(number) for number in range(51)]}, ("BAD_USER_INPUT", "TAG")),
        ({"model": "no-such-model"}, ("NOT_FOUND", None)),
        ({"model": "text-embedding-3-small"}, ("BAD_USER_INPUT", "MODEL")),
    ],
)
async def test_invalid_updates_are_refused(
    stack: Stack, given: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    agent_id = await stack.make_agent()
    stack.platform.state.calls.clear()
    answer = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, **given}})
    assert refused(answer) == expected
    assert stack.calls("letta") == []


async def test_an_agent_of_another_user_cannot_be_changed(stack: Stack) -> None:
    agent_id = await stack.make_agent(GRACE, "Hers")
    stack.platform.state.calls.clear()
    for query, given in (
        (UPDATE_AGENT, {"name": "Mine", "tags": ["mine"]}),
        (UPGRADE_AGENT, {"to": "1.2.0"}),
        (DELETE_AGENT, {}),
    ):
        for wrong in (agent_id, "agent-../../v1/agents", "template:greeter", f"{agent_id}/../x"):
            answer = await stack.graphql(query, {"i": {"agentId": wrong, **given}})
            assert refused(answer) == ("NOT_FOUND", None)
    assert stack.calls("letta") == []
    assert set(stack.calls("ams")) <= {"GET /me"}
    hers = await stack.graphql("query($id: ID!) { agent(id: $id) { name } }", {"id": agent_id}, user=GRACE)
    assert hers["data"]["agent"] == {"name": "Hers"}


async def test_an_upgrade_is_planned_applied_and_read_back(stack: Stack) -> None:
    await publish(stack, agent_file(stack), second_version(stack))
    agent_id = await created(stack, "k", version="1.0.0")
    plan = (await stack.graphql(PLAN, {"id": agent_id}))["data"]["agent"]
    assert plan["version"] == "1.0.0"
    assert plan["upgradePlan"]["steps"] == [{"fromVersion": "1.0.0", "toVersion": "1.1.0", "actions": ["json_patch"]}]
    [change] = plan["upgradePlan"]["diff"]
    assert (change["op"], change["path"]) == ("replace", "/persona/system_prompt")
    assert plan["upgradePlan"]["warnings"] == []
    answer = await stack.graphql(UPGRADE_AGENT, {"i": {"agentId": agent_id, "to": "1.1.0"}})
    done = {"outcome": "APPLIED", "agent": {"id": agent_id, "version": "1.1.0"}, "errors": []}
    assert answer["data"]["upgradeAgent"] == done
    again = await stack.graphql(UPGRADE_AGENT, {"i": {"agentId": agent_id, "queue": None}})
    assert again["data"]["upgradeAgent"] == done
    back = await stack.graphql(UPGRADE_AGENT, {"i": {"agentId": agent_id, "to": "1.0.0"}})
    payload = back["data"]["upgradeAgent"]
    assert (payload["outcome"], payload["agent"]) == (None, None)
    assert [error["__typename"] for error in payload["errors"]] == ["NoMigrationPath"]
    planned = await stack.graphql(PLAN, {"id": agent_id, "to": "1.0.0"})
    assert refused(planned) == ("CONFLICT", "NO_MIGRATION_PATH")
    assert planned["data"]["agent"] == {"version": "1.1.0", "upgradePlan": None}


async def test_an_upgrade_can_be_queued(stack: Stack) -> None:
    await publish(stack, agent_file(stack), second_version(stack))
    agent_id = await created(stack, "k", version="1.0.0")
    answer = await stack.graphql(UPGRADE_AGENT, {"i": {"agentId": agent_id, "queue": True}})
    assert answer["data"]["upgradeAgent"]["outcome"] == "QUEUED"

    async def upgraded() -> bool:
        read = await stack.graphql("query($id: ID!) { agent(id: $id) { version } }", {"id": agent_id})
        return bool(read["data"]["agent"]["version"] == "1.1.0")

    await until(upgraded, 20)


async def test_upgrades_to_invalid_versions_are_refused(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for to, expected in (("9.9.9", ("NOT_FOUND", None)), ("newest", ("BAD_USER_INPUT", "VERSION"))):
        assert refused(await stack.graphql(UPGRADE_AGENT, {"i": {"agentId": agent_id, "to": to}})) == expected
        assert refused(await stack.graphql(PLAN, {"id": agent_id, "to": to})) == expected


async def test_an_upgrade_is_applied_once_under_its_key(stack: Stack) -> None:
    await publish(stack, agent_file(stack), second_version(stack))
    agent_id = await created(stack, "k", version="1.0.0")
    asked = {"agentId": agent_id, "to": "1.1.0", "idempotencyKey": "up"}
    answers = await asyncio.gather(*(stack.graphql(UPGRADE_AGENT, {"i": asked}) for _ in range(3)))
    assert {one["data"]["upgradeAgent"]["outcome"] for one in answers} == {"APPLIED"}
    other = await stack.graphql(UPGRADE_AGENT, {"i": {**asked, "to": "1.0.0"}})
    assert refused(other) == ("CONFLICT", "KEY_REUSED")


async def test_a_deleted_agent_is_not_found(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    other_id = await stack.make_agent()
    answer = await stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_id, "idempotencyKey": "d"}})
    assert answer["data"]["deleteAgent"] == {"deletedAgentId": agent_id, "errors": []}
    for key in ("d", "e"):
        again = await stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_id, "idempotencyKey": key}})
        assert refused(again) == ("NOT_FOUND", None)
    for query, given in ((UPDATE_AGENT, {"name": "x"}), (UPGRADE_AGENT, {})):
        again = await stack.graphql(query, {"i": {"agentId": agent_id, **given}})
        assert refused(again) == ("NOT_FOUND", None)
    ids = [node["id"] for node in (await listed(stack))["nodes"]]
    assert agent_id not in ids
    assert other_id in ids


async def test_concurrent_deletions_of_an_agent_succeed_or_find_nothing(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    answers = await asyncio.gather(*(stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_id}}) for _ in range(3)))
    done = [answer["data"] is not None for answer in answers]
    assert done.count(True) >= 1
    for answer in answers:
        if "errors" in answer:
            assert refused(answer) == ("NOT_FOUND", None)
    other_id = await stack.make_agent()
    stack.platform.state.calls.clear()
    await stack.graphql(DELETE_AGENT, {"i": {"agentId": other_id}})
    assert f"DELETE /agents/{other_id}" in stack.calls("ams")  # that a row was gone says nothing of the endpoint


@pytest.mark.parametrize("status", [404, 405])
async def test_an_agent_is_deleted_in_letta_if_ams_cannot_delete(stack: Stack, status: int) -> None:
    """The gateway remembers that AMS has no such endpoint. The row stays until AMS cleans up."""
    agent_ids = [await stack.make_agent() for _ in range(2)]
    stack.platform.state.calls.clear()
    stack.platform.faults["ams"] = Fault(status=status, path=f"/agents/{agent_ids[0]}")
    for agent_id in agent_ids:
        answer = await stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_id}})
        assert answer["data"]["deleteAgent"]["deletedAgentId"] == agent_id
    stack.platform.faults.clear()
    assert [call for call in stack.calls("ams") if call.startswith("DELETE")] == [f"DELETE /agents/{agent_ids[0]}"]
    if not stack.real:
        assert [call for call in stack.calls("letta") if call.startswith("DELETE")] == [
            f"DELETE /v1/agents/{agent_id}" for agent_id in agent_ids
        ]
    again = await stack.graphql(DELETE_AGENT, {"i": {"agentId": agent_ids[1]}})
    assert refused(again) == ("NOT_FOUND", None)
    read = await stack.graphql("query($id: ID!) { agent(id: $id) { version name } }", {"id": agent_ids[0]})
    assert refused(read) == ("UPSTREAM_ERROR", "STATE_MISSING")
    assert read["data"]["agent"]["version"]


async def test_variables_are_null_if_ams_does_not_list_them(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    agent_id = await created(stack, "k")
    stack.platform.state.calls.clear()
    query = "query($id: ID!) { agent(id: $id) { version variables } }"
    told = await stack.graphql(query, {"id": agent_id})
    assert told["data"]["agent"] == {"version": "1.0.0", "variables": {"company": "Sea"}}
    stack.platform.faults["ams"] = Fault(status=404, path="/agents")
    for _ in range(2):
        answer = await stack.graphql(query, {"id": agent_id})
        assert answer == {"data": {"agent": {"version": "1.0.0", "variables": None}}}
    assert len([call for call in stack.calls("ams") if call.startswith("GET /agents?")]) == 2


async def test_pages_are_exact_while_agents_are_created_and_deleted(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    ids = [await created(stack, f"k{number}") for number in range(5)][::-1]
    mine = {"templateId": "template:greeter"}
    first = await listed(stack, first=2, filter=mine)
    assert [edge["node"]["id"] for edge in first["edges"]] == ids[:2]
    assert (first["totalCount"], first["pageInfo"]["hasPreviousPage"]) == (5, False)
    newest = await created(stack, "newest")
    await stack.graphql(DELETE_AGENT, {"i": {"agentId": ids[1]}})  # the one that the cursor stands on
    second = await listed(stack, first=2, after=first["pageInfo"]["endCursor"], filter=mine)
    assert [edge["node"]["id"] for edge in second["edges"]] == ids[2:4]
    assert (second["pageInfo"]["hasNextPage"], second["pageInfo"]["hasPreviousPage"]) == (True, True)
    back = await listed(stack, last=5, before=second["pageInfo"]["startCursor"], filter=mine)
    assert [edge["node"]["id"] for edge in back["edges"]] == [newest, ids[0]]
    assert (back["pageInfo"]["hasNextPage"], back["pageInfo"]["hasPreviousPage"]) == (True, False)
    last = await listed(stack, first=9, after=second["pageInfo"]["endCursor"], filter=mine)
    assert [edge["node"]["id"] for edge in last["edges"]] == ids[4:]
    assert (last["totalCount"], last["pageInfo"]["hasNextPage"]) == (5, False)


@pytest.mark.parametrize(
    ("told", "utc"),
    [
        ("2026-01-02T10:00:00+02:00", "2026-01-02T08:00:00+00:00"),
        ("2026-01-02T08:00:00", "2026-01-02T08:00:00+00:00"),
        ("9999-12-31T23:59:59-05:00", "9999-12-31T23:59:59+00:00"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T00:00:00+00:00"),
    ],
)
async def test_times_of_ams_are_converted_to_utc_and_can_be_paged(stack: Stack, told: str, utc: str) -> None:
    agent_id = await stack.make_agent()
    rows = stack.platform.state.users[ADA].rows
    rows[:] = [row | {"created_at": told} for row in rows]
    query = """query($after: String) { viewer { agents(first: 1, after: $after) {
      totalCount nodes { id createdAt } pageInfo { hasNextPage endCursor } } } }"""
    seen, after = [], None
    while True:
        answer = await stack.graphql(query, {"after": after})
        assert "errors" not in answer, answer
        page = answer["data"]["viewer"]["agents"]
        [node] = page["nodes"]
        assert node["createdAt"] == utc
        seen.append(node["id"])
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert len({*seen}) == len(seen) == page["totalCount"]
    assert agent_id in seen


async def test_agents_are_filtered_by_template_tag_and_name(stack: Stack) -> None:
    await publish(stack, agent_file(stack))
    red = await created(stack, "a", name="Night shift_1")
    blue = await created(stack, "b", name="Day shift")
    await created(stack, "c", name="Night watch")
    for agent_id, tags in ((red, ["red", "night"]), (blue, ["night"])):
        await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, "tags": tags}})
    grace = await stack.make_agent(GRACE, "Night shift")

    async def found(**fields: Any) -> list[str]:
        page = await listed(stack, filter={"templateId": "template:greeter", **fields})
        assert page["totalCount"] == len(page["nodes"])
        return [node["id"] for node in page["nodes"]]

    assert await found(tag="night") == [blue, red]
    assert await found(tag="red") == [red]
    assert await found(search="SHIFT") == [blue, red]
    assert await found(search="shift_") == [red]
    assert await found(search="%") == []
    assert await found(search="shift", tag="red") == [red]
    assert await found(search="shift", tag="green") == []
    assert len(await found(search="  ")) == 3
    tagged = {"tag": "night", "templateId": "template:greeter"}
    page = await listed(stack, first=1, filter=tagged)
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, True)
    rest = await listed(stack, first=5, after=page["pageInfo"]["endCursor"], filter=tagged)
    assert [node["id"] for node in rest["nodes"]] == [red]
    everything = await listed(stack, filter={"search": "night"})
    assert grace not in [node["id"] for node in everything["nodes"]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tag": f"user:{GRACE}"}, ("BAD_USER_INPUT", "TAG")),
        ({"search": "s" * 201}, ("BAD_USER_INPUT", "TEXT")),
        ({"templateId": "greeter"}, ("NOT_FOUND", None)),
    ],
)
async def test_invalid_filters_are_refused(
    stack: Stack, given: dict[str, str], expected: tuple[str, str | None]
) -> None:
    stack.platform.state.calls.clear()
    answer = await stack.graphql(AGENTS, {"filter": given})
    assert refused(answer) == expected
    assert answer["data"]["viewer"]["agents"] is None
    assert stack.calls("letta") == []


@pytest.mark.uncached
async def test_a_profile_is_read_in_each_of_its_shapes(stack: Stack) -> None:
    agent_id = await stack.make_agent(name="First")
    user = stack.platform.state.users[ADA]
    query = """{ viewer { name createdAt defaultAgent { id name version template { slug } owner { email } }
      agents { nodes { id } } } }"""
    for shape, dated in (("list", True), ("object", False), ("single", False)):
        user.shape = shape
        answer = await stack.graphql(query)
        assert "errors" not in answer, answer
        viewer = answer["data"]["viewer"]
        assert viewer["createdAt"]
        assert viewer["defaultAgent"] == {
            "id": agent_id,
            "name": "First",
            "version": "1.2.0" if dated else None,
            "template": {"slug": "support-bot"} if dated else None,
            "owner": {"email": "ada@example.com"},
        }
        assert agent_id in [node["id"] for node in viewer["agents"]["nodes"]]
        changed = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, "tags": [shape]}})
        assert changed["data"]["updateAgent"]["agent"]["tags"] == [shape]
    nobody = "c0c0c0c0-3333-4333-8333-000000000003"
    answer = await stack.graphql(query, user=nobody)
    expected: dict[str, Any] = {"name": None, "createdAt": None, "defaultAgent": None, "agents": {"nodes": []}}
    assert answer == {"data": {"viewer": expected}}
    assert refused(await create(stack, "k", user=nobody, templateId="template:support-bot")) == ("NOT_FOUND", None)


async def other_model(stack: Stack) -> str:
    models = (await stack.graphql("{ models(mode: CHAT) { name } }"))["data"]["models"]
    return next(str(model["name"]) for model in models if model["name"] != stack.chat_model)


async def test_a_changed_model_keeps_the_endpoint_that_ams_has_set(stack: Stack) -> None:
    """If only ``model`` is changed, Letta drops the agent's endpoint; the gateway sends it again."""
    agent_id, other = await stack.make_agent(), await other_model(stack)
    path = f"/v1/agents/{agent_id}"
    endpoint = f"http://127.0.0.1:9/api/v1/agents/{ADA}/proxy"
    async with stack.letta() as letta:
        before = (await letta.get(path)).json()["llm_config"]
        marked = {**before, "model_endpoint": endpoint, "temperature": 0.25}
        (await letta.patch(path, json={"llm_config": marked})).raise_for_status()
        answer = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, "model": other}})
        assert answer["data"]["updateAgent"]["agent"]["model"] == {"name": other}
        after = (await letta.get(path)).json()
    assert after["model"] == before["handle"].replace(stack.chat_model, other)
    config = after["llm_config"]
    assert (config["model"], config["handle"]) == (other, after["model"])
    assert (config["model_endpoint"], config["temperature"]) == (endpoint, 0.25)
    assert config["context_window"] <= before["context_window"]


async def test_an_agents_model_is_changed_back_and_the_agent_answers(stack: Stack) -> None:
    agent_id, other = await stack.make_agent(), await other_model(stack)
    answer = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, "model": other}})
    assert answer["data"]["updateAgent"]["agent"]["model"] == {"name": other}
    back = await stack.graphql(UPDATE_AGENT, {"i": {"agentId": agent_id, "model": stack.chat_model, "tags": ["a"]}})
    agent = back["data"]["updateAgent"]["agent"]
    assert (agent["model"], agent["tags"]) == ({"name": stack.chat_model}, ["a"])
    run = (await things.sent(stack, agent_id=agent_id))["run"]
    read = await stack.graphql("query($r: ID!) { run(id: $r) { status } }", {"r": run["id"]})
    assert read["data"]["run"] == {"status": "COMPLETED"}
