from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from app.embedded.faults import Fault
from app.embedded.people import ADA, GRACE
from tests.support import things
from tests.support.documents import CREATE_CONVERSATION, DASHBOARD
from tests.support.stack import Stack

pytestmark = pytest.mark.uncached


async def test_the_number_of_calls_for_the_dashboard(stack: Stack) -> None:
    agents = len(stack.platform.state.users[ADA].rows)
    await stack.graphql(DASHBOARD)
    assert [call.split("?")[0] for call in stack.calls("ams")] == ["GET /me", "GET /templates"]
    assert stack.calls("litellm") == ["GET /model_group/info"]
    kinds = Counter(re.sub(r"conv-[^/]+", "{id}", call.split("?")[0]) for call in stack.calls("letta"))
    assert kinds == {
        "GET /v1/agents/": 1,
        "GET /v1/conversations/": agents,
        "GET /v1/conversations/{id}/messages": 2 * agents,
    }
    assert len(set(stack.calls("letta"))) == len(stack.calls("letta"))


async def test_reads_of_equal_ids_are_deduplicated(stack: Stack) -> None:
    agent_id = stack.platform.state.users[ADA].rows[0]["agent_id"]
    fields = """name model { name } template { name }
        conversations(first: 3) { nodes { id messages(last: 5) { nodes { id } } } }"""
    await stack.graphql(f'{{ a: agent(id: "{agent_id}") {{ {fields} }} }}')
    once = {service: stack.calls(service) for service in ("ams", "letta", "litellm")}
    stack.platform.state.calls.clear()
    aliases = " ".join(f'a{n}: agent(id: "{agent_id}") {{ {fields} }}' for n in range(5))
    await stack.graphql(f"{{ {aliases} }}")
    assert {service: Counter(stack.calls(service)) for service in once} == {k: Counter(v) for k, v in once.items()}


@pytest.mark.parametrize("field", ["nodes(ids: $ids)", "_entities(representations: $agents)"])
async def test_fifty_agents_by_id_need_the_same_calls_as_a_list(stack: Stack, field: str) -> None:
    ids = [await stack.make_agent(name=f"agent {number}") for number in range(50)]
    fields = "name description tags model { name } template { name } memoryBlocks { value } tools { name }"
    stack.platform.state.calls.clear()
    listed = await stack.graphql(f"{{ viewer {{ agents(first: 50) {{ nodes {{ {fields} }} }} }} }}")
    calls = {service: stack.calls(service) for service in ("ams", "letta", "litellm")}
    assert {service: len(made) for service, made in calls.items()} == {"ams": 2, "letta": 1, "litellm": 1}
    stack.platform.state.calls.clear()
    asked = {"ids": ids, "agents": [{"__typename": "Agent", "id": one} for one in ids]}
    head = "$ids: [ID!]!" if field.startswith("nodes") else "$agents: [_Any!]!"
    answer = await stack.graphql(f"query({head}) {{ {field} {{ ... on Agent {{ {fields} }} }} }}", asked)
    assert {service: stack.calls(service) for service in calls} == calls
    assert list(answer["data"].values()) == [listed["data"]["viewer"]["agents"]["nodes"][::-1]]


async def test_blocks_and_tools_are_read_by_id_in_one_call(stack: Stack) -> None:
    listed = await stack.graphql("{ viewer { agents { nodes { memoryBlocks { id } tools { id } } } } }")
    agents = listed["data"]["viewer"]["agents"]["nodes"]
    ids = list({one["id"]: 0 for agent in agents for one in (*agent["memoryBlocks"], *agent["tools"])})
    assert {one.split("-")[0] for one in ids} == {"block", "tool"}
    stack.platform.state.calls.clear()
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    assert (await stack.graphql(query, {"ids": ids}))["data"] == {"nodes": [{"id": one} for one in ids]}
    assert len(stack.calls("letta")) == 1
    stack.platform.faults["letta"] = Fault(status=500)
    failed = await stack.graphql(query, {"ids": ids[:1]})
    assert failed["data"] == {"nodes": [None]}
    assert failed["errors"][0]["extensions"]["service"] == "letta"


async def test_a_page_of_agents_needs_a_call_per_100_agents(stack: Stack) -> None:
    for number in range(130):
        await stack.make_agent(name=f"agent {number}")
    query = "query($c: String) { viewer { agents(first: 20, after: $c) { nodes { name } pageInfo { endCursor } } } }"
    cursor, names = None, []
    for page in range(7):
        stack.platform.state.calls.clear()
        agents = (await stack.graphql(query, {"c": cursor}))["data"]["viewer"]["agents"]
        cursor = agents["pageInfo"]["endCursor"]
        names += [node["name"] for node in agents["nodes"]]
        assert len(stack.calls("letta")) == (1 if page < 5 else 2)
    assert len(set(names)) == 133


async def test_without_a_list_of_templates_those_of_the_users_agents_exist(stack: Stack) -> None:
    async def template(slug: str) -> dict[str, Any] | None:
        query = "query($id: ID!) { node(id: $id) { ... on Template { slug name } } }"
        node: dict[str, Any] | None = (await stack.graphql(query, {"id": f"template:{slug}"}))["data"]["node"]
        return node

    assert await template("support-bot") == {"slug": "support-bot", "name": "Support bot"}
    assert await template("never-existed") is None
    stack.platform.faults["ams"] = Fault(status=404, path="/templates")
    assert await template("support-bot") == {"slug": "support-bot", "name": None}
    assert await template("never-existed") is None
    stack.platform.state.calls.clear()
    assert await template("support-bot") == {"slug": "support-bot", "name": None}
    assert stack.calls("ams") == ["GET /me"]


async def test_the_three_shapes_of_a_profile_have_the_same_agents(stack: Stack) -> None:
    user = stack.platform.state.users[ADA]
    ids = {row["agent_id"] for row in user.rows}
    for shape, expected in (("list", ids), ("object", ids), ("single", {user.rows[0]["agent_id"]})):
        user.shape = shape
        answer = await stack.graphql("{ viewer { agents { totalCount nodes { id name } } } }")
        assert "errors" not in answer
        assert {node["id"] for node in answer["data"]["viewer"]["agents"]["nodes"]} == expected


async def test_a_user_unknown_to_ams_has_no_agents(stack: Stack) -> None:
    stranger = "c0c0c0c0-3333-4333-8333-000000000003"
    answer = await stack.graphql("{ viewer { name agents { nodes { id } } } }", user=stranger)
    assert answer == {"data": {"viewer": {"name": None, "agents": {"nodes": []}}}}
    assert stack.calls("letta") == []


AGENTS_WORK = """{ viewer { agents { nodes { status passages(first: 3) { nodes { id } }
  runs(active: true) { nodes { id } }
  conversations(first: 2) { nodes { activeRun { id } } } defaultConversation { activeRun { id } } } } } }"""


async def test_active_runs_of_all_agents_are_read_in_one_call(stack: Stack) -> None:
    agents = len(stack.platform.state.users[ADA].rows)
    answer = await stack.graphql(AGENTS_WORK)
    assert "errors" not in answer
    kinds = Counter(re.sub(r"agent-[^/?]+", "{id}", call.split("?")[0]) for call in stack.calls("letta"))
    assert kinds == {
        "GET /v1/runs/": 1,
        "GET /v1/conversations/": agents,
        "GET /v1/agents/{id}/archival-memory": agents,
    }


async def test_runs_and_steps_are_read_once_each(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    run_id = (await things.sent(stack, "tokens=2 delay=0 tool=memory_insert", agent_id=agent_id))["run"]["id"]
    stack.platform.state.calls.clear()
    run = "run { id usage { totalTokens } steps { id run { id } } }"
    asked = f"messages(first: 50) {{ nodes {{ id step {{ id {run} }} {run} }} }}"
    answer = await stack.graphql(
        f'{{ a: agent(id: "{agent_id}") {{ {asked} }} b: agent(id: "{agent_id}") {{ {asked} }} }}'
    )
    assert "errors" not in answer
    kinds = Counter(re.sub(r"(run|step)-[^/?]+", "{id}", call.split("?")[0]) for call in stack.calls("letta"))
    assert kinds == {
        "GET /v1/conversations/default/messages": 1,
        "GET /v1/runs/{id}": 1,
        "GET /v1/runs/{id}/usage": 1,
        "GET /v1/runs/{id}/steps": 1,
        "GET /v1/steps/{id}": 2,
    }
    stack.platform.state.calls.clear()
    fields = "id usage { totalTokens } steps { id }"
    await stack.graphql(f'{{ a: run(id: "{run_id}") {{ {fields} }} b: run(id: "{run_id}") {{ {fields} }} }}')
    assert len(stack.calls("letta")) == 3
    assert len(set(stack.calls("letta"))) == len(stack.calls("letta"))


async def test_the_parents_of_listed_objects_are_not_read_again(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for _ in range(2):
        made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
        await things.sent(stack, conversation_id=made["conversationEdge"]["node"]["id"])
    for asked, pages in (
        ("runs { nodes { steps { id run { status } } } }", {"runs/": 1, "runs/{id}/steps": 2}),
        (
            "conversations { nodes { messages { nodes { conversation { summary } } } } }",
            {"conversations/": 1, "conversations/{id}/messages": 2},
        ),
    ):
        stack.platform.state.calls.clear()
        answer = await stack.graphql(f'{{ agent(id: "{agent_id}") {{ {asked} }} }}')
        assert "errors" not in answer
        kinds = Counter(re.sub(r"(run|conv)-[^/?]+", "{id}", call.split("?")[0]) for call in stack.calls("letta"))
        assert kinds == {f"GET /v1/{path}": count for path, count in pages.items()}
    stack.platform.state.calls.clear()
    answer = await stack.graphql('{ templates { nodes { version(number: "1.0.0") { template { latestVersion } } } } }')
    assert "errors" not in answer
    assert len([call for call in stack.calls("ams") if call.startswith("GET /templates?")]) == 1


async def test_the_number_of_calls_for_a_passage_and_its_deletion(stack: Stack) -> None:
    agent_id = stack.platform.state.users[ADA].rows[0]["agent_id"]
    page = await stack.graphql(f'{{ agent(id: "{agent_id}") {{ passages {{ nodes {{ id }} }} }} }}')
    node_id = page["data"]["agent"]["passages"]["nodes"][0]["id"]
    stack.platform.state.calls.clear()
    await stack.graphql(f'{{ a: node(id: "{node_id}") {{ id }} b: node(id: "{node_id}") {{ id }} }}')
    path = f"/v1/agents/{agent_id}/archival-memory"
    assert [call.split("?")[0] for call in stack.calls("letta")] == [f"GET {path}"] * 2
    stack.platform.state.calls.clear()
    await stack.graphql(f'mutation {{ deletePassage(input: {{passageId: "{node_id}"}}) {{ deletedPassageId }} }}')
    passage_id = "passage-" + node_id.rsplit(":", 1)[1]
    assert [call.split("?")[0] for call in stack.calls("letta")] == [
        *[f"GET {path}"] * 2,
        f"DELETE {path}/{passage_id}",
    ]


async def test_a_tool_is_read_with_the_users_agents_in_one_call(stack: Stack) -> None:
    tool_id = next(iter(stack.platform.state.tools))
    await stack.graphql(f'{{ node(id: "{tool_id}") {{ id }} viewer {{ agents {{ nodes {{ tools {{ id }} }} }} }} }}')
    assert [call.split("?")[0] for call in stack.calls("letta")] == ["GET /v1/agents/"]


async def test_a_block_shared_with_another_user_on_the_second_page_is_not_found(stack: Stack) -> None:
    """The oldest agent with the block is another user's, and on the second page."""
    state = stack.platform.state
    block_id = state.agents[state.users[ADA].rows[0]["agent_id"]].block_ids[0]
    others = state.agents[state.users[GRACE].rows[0]["agent_id"]]
    others.block_ids.append(block_id)
    for number in range(120):
        agent_id = await stack.make_agent(name=f"agent {number}")
        state.agents[agent_id].block_ids.append(block_id)
    stack.platform.state.calls.clear()
    write = f'mutation {{ updateMemoryBlock(input: {{blockId: "{block_id}", value: "x"}}) {{ memoryBlock {{ id }} }} }}'
    refused = await stack.graphql(write)
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert [call.split("?")[0] for call in stack.calls("letta")] == [f"GET /v1/blocks/{block_id}/agents"] * 2
    others.block_ids.remove(block_id)
    assert "errors" not in await stack.graphql(write)
