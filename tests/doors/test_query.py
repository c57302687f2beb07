from __future__ import annotations

import pytest

from tests.support import things
from tests.support.documents import CREATE_CONVERSATION, DASHBOARD
from tests.support.stack import Stack


async def test_one_query_across_agents_conversations_and_models(stack: Stack) -> None:
    agent_id = await stack.make_agent(name="Dashboard agent")
    created = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id, "s": "hello"})
    assert created["conversation"]["summary"] == "hello"
    answer = await stack.graphql(DASHBOARD)
    assert "errors" not in answer
    assert answer["data"]["viewer"]["email"] == "ada@example.com"
    agent = next(a for a in answer["data"]["viewer"]["agents"]["nodes"] if a["name"] == "Dashboard agent")
    assert agent["template"] == {"name": "Support bot"}
    assert (agent["modelName"], agent["model"]) == (stack.chat_model, {"name": stack.chat_model})
    assert {block["label"] for block in agent["memoryBlocks"]} == {"persona", "human"}
    assert agent["conversations"]["nodes"][0]["summary"] == "hello"


async def test_messages_page_exactly_in_both_directions(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for _ in range(3):
        await things.sent(stack, "tokens=2 delay=0 reasoning=1", agent_id=agent_id)
    fields = "edges { cursor node { id __typename } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
    whole = await stack.graphql(
        f"query($a: ID!) {{ agent(id: $a) {{ messages(first: 100) {{ {fields} }} }} }}", {"a": agent_id}
    )
    expected = [edge["node"]["id"] for edge in whole["data"]["agent"]["messages"]["edges"]]
    assert len(expected) == len(set(expected)) == 10
    for size in (1, 2, 3):
        for arguments, at, more in (
            ("first: $n, after: $c", "endCursor", "hasNextPage"),
            ("last: $n, before: $c", "startCursor", "hasPreviousPage"),
        ):
            seen: list[str] = []
            cursor = None
            while True:
                asked = f"agent(id: $a) {{ messages({arguments}) {{ {fields} }} }}"
                query = f"query($a: ID!, $n: Int, $c: String) {{ {asked} }}"
                answer = await stack.graphql(query, {"a": agent_id, "n": size, "c": cursor})
                page = answer["data"]["agent"]["messages"]
                ids = [edge["node"]["id"] for edge in page["edges"]]
                seen = [*seen, *ids] if at == "endCursor" else [*ids, *seen]
                cursor = page["pageInfo"][at]
                if not page["pageInfo"][more]:
                    break
            assert seen == expected, (size, arguments)
    for node_id in expected:
        answer = await stack.graphql("query($id: ID!) { node(id: $id) { id } }", {"id": node_id})
        assert answer["data"]["node"]["id"] == node_id


async def test_an_empty_page_says_whether_there_are_more_nodes(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    names = ("conversations", "runs", "passages")
    lists = ["messages(first: 0)", "messages(last: 0)", *(f"{name}(first: 0)" for name in names)]
    asked = " ".join(
        f"l{at}: {one} {{ nodes {{ id }} pageInfo {{ hasNextPage hasPreviousPage }} }}" for at, one in enumerate(lists)
    )
    query = f'{{ agent(id: "{agent_id}") {{ {asked} }} templates(first: 0) {{ pageInfo {{ hasNextPage }} }} }}'

    async def more() -> list[bool]:
        answer = await stack.graphql(query)
        assert "errors" not in answer, answer
        pages = list(answer["data"]["agent"].values())
        assert not any(page["nodes"] for page in pages)
        assert answer["data"]["templates"]["pageInfo"]["hasNextPage"] is True
        return [page["pageInfo"]["hasNextPage"] or page["pageInfo"]["hasPreviousPage"] for page in pages]

    assert (await more())[2:] == [False, False, False]
    await things.done(stack, CREATE_CONVERSATION, {"a": agent_id})
    await things.passages(stack, agent_id, "kept")
    await things.sent(stack, agent_id=agent_id)
    assert await more() == [True] * 5


@pytest.mark.parametrize("arguments", ["first: 1, last: 1", "first: 101", "first: -1", 'after: "nonsense"'])
async def test_invalid_paging_arguments_are_refused(stack: Stack, arguments: str) -> None:
    answer = await stack.graphql(f"{{ viewer {{ email agents({arguments}) {{ nodes {{ id }} }} }} }}")
    assert answer["data"]["viewer"]["agents"] is None
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
