"""Reading several objects by id: ``nodes``, and Apollo Federation's ``_entities`` with the same rules."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from schema.build import build_schema
from schema.federation import entities, unruled_subgraph_sdl
from tests.support.node import run_node
from tests.support.stack import ADA, GRACE, Stack

ENTITIES = """query($r: [_Any!]!) { _entities(representations: $r) {
  __typename ... on Node { id } ... on Agent { name model { name } } } }"""
NODES = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
EVERYTHING = """query($a: ID!) {
  viewer { id __typename } models { id __typename }
  templates { nodes { id __typename version(number: "1.0.0") { id __typename } } }
  agent(id: $a) {
    id __typename
    memoryBlocks { id __typename } tools { id __typename }
    defaultConversation { id __typename } conversations { nodes { id __typename } }
    passages { nodes { id __typename } }
    messages { nodes { id __typename run { id __typename } step { id __typename } } }
  } }"""
UNKNOWN = "agent-00000000-0000-4000-8000-000000000000"


def found_in(answer: Any) -> dict[str, str]:
    """Return the type of every node of an answer, by id."""
    if isinstance(answer, list):
        return {key: value for one in answer for key, value in found_in(one).items()}
    if not isinstance(answer, dict):
        return {}
    own = {answer["id"]: answer["__typename"]} if "id" in answer else {}
    return own | found_in(list(answer.values()))


def problems(answer: dict[str, Any]) -> dict[Any, str]:
    """Return the code of each error, by the index in its path."""
    return {error["path"][1]: error["extensions"]["code"] for error in answer.get("errors", [])}


async def furnished_agent(stack: Stack, user: str = ADA) -> str:
    """Create an agent with a conversation that has a turn."""
    agent_id = await stack.make_agent(user)
    turn = {
        "to": {"agentId": agent_id},
        "content": [{"text": "hi [[tokens=2 delay=0]]"}],
        "idempotencyKey": str(uuid.uuid4()),
        "waitSeconds": 20,
    }
    done = await stack.graphql(
        """mutation($i: SendMessageInput!, $a: ID!) {
          sendMessage(input: $i) { run { id } errors { message } }
          createConversation(input: {agentId: $a}) { errors { message } }
          insertPassage(input: {agentId: $a, text: "kept"}) { errors { message } } }""",
        {"i": turn, "a": agent_id},
        user=user,
    )
    assert "errors" not in done, done
    await stack.require_approval(agent_id, "memory_insert")  # a real agent has no tool yet
    return agent_id


async def test_every_node_is_read_again_by_its_id_alone(stack: Stack) -> None:
    whole = await stack.graphql(EVERYTHING, {"a": await furnished_agent(stack)})
    assert "errors" not in whole, whole
    kinds = found_in(whole["data"])
    messages = {name for name in entities() if name.endswith("Message")}
    assert set(kinds.values()) >= set(entities()) - messages | {"UserMessage", "AssistantMessage"}
    ids = list(kinds)[:100]
    again = await stack.graphql(NODES, {"ids": ids})
    assert again == {"data": {"nodes": [{"__typename": kinds[one], "id": one} for one in ids]}}
    answer = await stack.graphql(ENTITIES, {"r": [{"__typename": kinds[one], "id": one} for one in ids]})
    assert "errors" not in answer
    assert [(one["__typename"], one["id"]) for one in answer["data"]["_entities"]] == [(kinds[one], one) for one in ids]


async def test_entities_of_another_user_are_missing_and_the_others_are_returned(stack: Stack) -> None:
    whole = await stack.graphql(EVERYTHING, {"a": await furnished_agent(stack, GRACE)}, user=GRACE)
    mine = await stack.make_agent()
    shared = {"Model", "Template", "TemplateVersion", "Tool"}
    foreign = {one: kind for one, kind in found_in(whole["data"]).items() if kind not in shared}
    assert set(foreign.values()) >= {
        "User",
        "Agent",
        "Conversation",
        "MemoryBlock",
        "Passage",
        "Run",
        "Step",
        "UserMessage",
    }
    ids = [*foreign, mine]
    hers = dict.fromkeys(range(len(foreign)), "NOT_FOUND")
    nodes = await stack.graphql(NODES, {"ids": ids})
    assert nodes["data"]["nodes"] == [None] * len(foreign) + [{"__typename": "Agent", "id": mine}]
    assert problems(nodes) == hers
    asked = [{"__typename": foreign.get(one, "Agent"), "id": one} for one in ids]
    answer = await stack.graphql(ENTITIES, {"r": asked})
    assert [one and one["id"] for one in answer["data"]["_entities"]] == [None] * len(foreign) + [mine]
    assert problems(answer) == hers


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ({"__typename": "Nonsense", "id": UNKNOWN}, "BAD_USER_INPUT"),
        ({"__typename": "Query"}, "BAD_USER_INPUT"),
        ({"__typename": "Stream", "id": "stream:1"}, "BAD_USER_INPUT"),
        ({"__typename": "Node", "id": UNKNOWN}, "BAD_USER_INPUT"),
        ({"__typename": ["Agent"], "id": UNKNOWN}, "BAD_USER_INPUT"),
        ({"id": UNKNOWN}, "BAD_USER_INPUT"),
        ({"__typename": "Agent"}, "BAD_USER_INPUT"),
        ({"__typename": "Agent", "id": 7}, "BAD_USER_INPUT"),
        ({"__typename": "Agent", "id": {"id": UNKNOWN}}, "BAD_USER_INPUT"),
        ([], "BAD_USER_INPUT"),
        ("Agent", "BAD_USER_INPUT"),
        (12, "BAD_USER_INPUT"),
        ({"__typename": "Agent", "id": ""}, "NOT_FOUND"),
        ({"__typename": "Agent", "id": UNKNOWN}, "NOT_FOUND"),
        ({"__typename": "Agent", "id": f"{UNKNOWN}/messages"}, "NOT_FOUND"),
        ({"__typename": "MemoryBlock", "id": "block-../../agents"}, "NOT_FOUND"),
        ({"__typename": "User", "id": f"user:{GRACE}"}, "NOT_FOUND"),
        ({"__typename": "Agent", "id": f"user:{ADA}"}, "NOT_FOUND"),
    ],
    ids=str,
)
async def test_a_bad_representation_fails_alone(stack: Stack, bad: Any, code: str) -> None:
    mine = await stack.make_agent(name="Mine")
    stack.platform.state.calls.clear()
    good = {"__typename": "Agent", "id": mine, "more": {"than": "asked"}}
    answer = await stack.graphql(ENTITIES, {"r": [good, bad, good]})
    first, failed, last = answer["data"]["_entities"]
    assert first == last == {"__typename": "Agent", "id": mine, "name": "Mine", "model": {"name": stack.chat_model}}
    assert failed is None
    assert problems(answer) == {1: code}
    reason = "REPRESENTATION" if code == "BAD_USER_INPUT" else None
    assert answer["errors"][0]["extensions"].get("reason") == reason
    assert not any(UNKNOWN in call or ".." in call for call in stack.calls("letta"))


@pytest.mark.parametrize("name", ["nodes", "_entities"])
async def test_at_most_100_nodes_are_read_by_id(stack: Stack, name: str) -> None:
    async def asked(count: int) -> dict[str, Any]:
        ids = [f"user:{ADA}"] * count
        if name == "nodes":
            return await stack.graphql(NODES, {"ids": ids})
        return await stack.graphql(ENTITIES, {"r": [{"__typename": "User", "id": one} for one in ids]})

    assert (await asked(0))["data"] == {name: []}
    assert len((await asked(100))["data"][name]) == 100
    refused = await asked(101)
    assert refused["data"] is None
    [error] = refused["errors"]
    assert (error["path"], error["extensions"]["code"]) == ([name], "BAD_USER_INPUT")
    assert "100" in error["message"]


@pytest.mark.needs_node
async def test_the_subgraph_composes_and_is_queried_across_subgraphs(stack: Stack) -> None:
    names = {await stack.make_agent(name=f"Agent {number}"): f"Agent {number}" for number in range(3)}
    hers = await stack.make_agent(GRACE)
    tickets = [
        {"id": str(number), "subject": f"Ticket {number}", "agentId": agent_id, "userId": ADA}
        for number, agent_id in enumerate([*names, hers])
    ]
    unruled = unruled_subgraph_sdl(build_schema())
    heard = await run_node("federation.mjs", url=stack.url, token=stack.token(), tickets=tickets, unruled=unruled)
    for composer in ("apollo", "theguild"):
        composed, unruled_composed, theirs, ours = (fact for fact in heard if fact.get("composer") == composer)
        assert composed["told"] == unruled_composed["told"] == []
        assert {"Agent", "Query.viewer", "Mutation.publishTemplate"} <= set(composed["guarded"])
        others = {"PageInfo", "Ticket", "TicketConnection", "Query", "Query.tickets"}
        assert not others & set(composed["guarded"]), "rules of this subgraph do not apply to other subgraphs"
        nodes = theirs["data"]["tickets"]["nodes"]
        agents = [{"name": name, "model": {"name": stack.chat_model}} for name in names.values()]
        assert [node["assignedAgent"] for node in nodes] == [*agents, {"name": None, "model": None}]
        assert [node["customer"] for node in nodes] == [{"email": "ada@example.com"}] * 4
        assert theirs["failures"] == [{"path": ["tickets", "nodes", 3, "assignedAgent"], "code": "NOT_FOUND"}]
        assert theirs["asked"] == 2, "all the agents at once, and all the users at once"
        listed = {node["name"]: node["tickets"] for node in ours["data"]["viewer"]["agents"]["nodes"]}
        assert {name: listed[name] for name in names.values()} == {
            f"Agent {number}": [{"subject": f"Ticket {number}"}] for number in range(3)
        }
        assert (ours["failures"], ours["asked"]) == ([], 1)
    assert len(heard) == 8, "and nobody had anything to say on the console"
