from __future__ import annotations

import pytest

from tests.support import things
from tests.support.documents import CREATE_CONVERSATION, DASHBOARD
from tests.support.stack import GRACE, Stack


async def test_one_query_across_agents_conversations_and_models(stack: Stack) -> None:
    agent_id = await stack.make_agent(name="Dashboard agent")
    created = await stack.graphql(
        'mutation($a: ID!) { createConversation(input: {agentId: $a, summary: "hello"}) {'
        " conversationEdge { cursor node { id summary agent { id } } } errors { message } } }",
        {"a": agent_id},
    )
    edge = created["data"]["createConversation"]["conversationEdge"]
    assert edge["node"]["summary"] == "hello"
    assert edge["node"]["agent"]["id"] == agent_id
    answer = await stack.graphql(DASHBOARD)
    assert "errors" not in answer
    assert answer["data"]["viewer"]["email"] == "ada@example.com"
    agent = next(a for a in answer["data"]["viewer"]["agents"]["nodes"] if a["name"] == "Dashboard agent")
    assert agent["template"] == {"name": "Support bot"}
    assert (agent["modelName"], agent["model"]) == (stack.chat_model, {"name": stack.chat_model})
    assert {block["label"] for block in agent["memoryBlocks"]} == {"persona", "human"}
    assert agent["conversations"]["nodes"][0]["summary"] == "hello"


async def test_an_agent_of_another_user_is_not_found(stack: Stack) -> None:
    agent_id = await stack.make_agent(GRACE)
    stack.platform.state.calls.clear()
    for field in ("agent", "node"):
        answer = await stack.graphql(f"query($id: ID!) {{ {field}(id: $id) {{ id }} }}", {"id": agent_id})
        assert answer["data"] == {field: None}
        assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    sent = await stack.graphql(
        'mutation($id: ID!) { sendMessage(input: {to: {agentId: $id}, content: [{text: "hi"}],'
        ' idempotencyKey: "k"}) { stream { id } } }',
        {"id": agent_id},
    )
    assert sent["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    made = await stack.graphql(
        "mutation($id: ID!) { createConversation(input: {agentId: $id}) { errors { message } } }", {"id": agent_id}
    )
    assert made["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert stack.calls("letta") == []


async def test_a_conversation_run_and_message_of_another_user_are_not_found(stack: Stack) -> None:
    agent_id = await stack.make_agent(GRACE)
    made = await stack.graphql(
        "mutation($id: ID!) { createConversation(input: {agentId: $id}) { conversationEdge { node { id } } } }",
        {"id": agent_id},
        user=GRACE,
    )
    conversation_id = made["data"]["createConversation"]["conversationEdge"]["node"]["id"]
    sent = await stack.graphql(
        "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } userMessageEdge { node { id } } } }",
        {
            "i": {
                "to": {"conversationId": conversation_id},
                "content": [{"text": "mine [[tokens=1 delay=0]]"}],
                "idempotencyKey": conversation_id,
                "waitSeconds": 20,
            }
        },
        user=GRACE,
    )
    run_id = sent["data"]["sendMessage"]["run"]["id"]
    message_id = sent["data"]["sendMessage"]["userMessageEdge"]["node"]["id"]
    default_id = f"conversation:{agent_id}"
    for field, node_id in (
        ("conversation", conversation_id),
        ("conversation", default_id),
        ("run", run_id),
        *(("node", known) for known in (conversation_id, default_id, run_id, message_id)),
    ):
        query = f"query($id: ID!) {{ {field}(id: $id) {{ id }} }}"
        assert "errors" not in await stack.graphql(query, {"id": node_id}, user=GRACE)
        answer = await stack.graphql(query, {"id": node_id})
        assert answer["data"] == {field: None}
        assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    refused = await stack.graphql(
        "mutation($i: SendMessageInput!) { sendMessage(input: $i) { run { id } } }",
        {"i": {"to": {"conversationId": conversation_id}, "content": [{"text": "hi"}], "idempotencyKey": "k"}},
    )
    assert refused["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_messages_page_exactly_in_both_directions(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    for number in range(3):
        await stack.graphql(
            "mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }",
            {
                "i": {
                    "to": {"agentId": agent_id},
                    "content": [{"text": f"message {number} [[tokens=2 delay=0 reasoning=1]]"}],
                    "idempotencyKey": f"page-{agent_id}-{number}",
                    "waitSeconds": 20,
                }
            },
        )
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


async def test_a_page_of_nothing_says_whether_there_is_anything(stack: Stack) -> None:
    agent_id = await stack.make_agent()
    lists = [
        "messages(first: 0)",
        "messages(last: 0)",
        "conversations(first: 0)",
        "runs(first: 0)",
        "passages(first: 0)",
    ]
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
async def test_paging_arguments_that_cannot_be_right(stack: Stack, arguments: str) -> None:
    answer = await stack.graphql(f"{{ viewer {{ email agents({arguments}) {{ nodes {{ id }} }} }} }}")
    assert answer["data"]["viewer"]["agents"] is None
    assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
