from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import pytest

from tests.support import callcases, calltable, things
from tests.support.schema import possible_types
from tests.support.stack import ADA, Stack

PAGE = Path(__file__).parents[2] / "docs" / "calls.md"


@pytest.mark.timeout(120)
async def test_docs_calls_has_the_measured_number_of_calls() -> None:
    assert await calltable.table() == PAGE.read_text(), "make generated"


def test_every_kind_of_node_is_in_the_table_of_calls() -> None:
    nodes, messages = possible_types("Node"), possible_types("Message")
    assert nodes - messages - {"Stream"} == callcases.NODES.keys() - messages


@pytest.mark.uncached
async def test_fifty_agents_with_messages_need_one_call_per_agent(stack: Stack) -> None:
    stack.platform.state.users[ADA].rows.clear()
    ids = [await stack.make_agent(name=f"agent {number}") for number in range(50)]
    for _ in range(10):
        await things.sent(stack, agent_id=ids[0])
    agents = [stack.platform.state.agents[agent_id] for agent_id in ids]
    [(_, said)] = agents[0].messages.items()
    for agent in agents[1:]:
        [scope] = agent.messages
        stack.platform.state.add_messages(
            agent, scope, [[part | {"id": f"message-{uuid.uuid4()}"} for part in group] for group in said]
        )
    stack.platform.state.calls.clear()
    asked = "agents(first: 50) { nodes { id name messages(last: 20) { nodes { id text createdAt } } } }"
    for document in (f"{{ viewer {{ {asked} }} }}", f"{{ viewer {{ {asked} again: {asked} }} }}"):
        answer = await stack.graphql(document)
        assert "errors" not in answer
        listed = answer["data"]["viewer"]["agents"]["nodes"]
        assert len({agent["name"] for agent in listed}) == 50
        assert all(len(agent["messages"]["nodes"]) == 20 for agent in listed)
        assert stack.calls("ams") == ["GET /me"]
        assert stack.calls("litellm") == []
        assert Counter(call.split("?")[0] for call in stack.calls("letta")) == {
            "GET /v1/agents/": 1,
            "GET /v1/conversations/default/messages": 50,
        }
        stack.platform.state.calls.clear()
