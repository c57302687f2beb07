"""Normalised caches: after a streamed turn, the client's list is equal to the result of a new query."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.support.node import run_node
from tests.support.stack import Stack

SEND = "mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } } }"
WORDS = {
    "plain": "hi [[tokens=3 delay=0 reasoning=1]]",
    "tool": "look it up [[tokens=4 delay=0.01 reasoning=1 tool=conversation_search]]",
    "approval": "do it [[tokens=2 delay=0 tool=memory_insert approve=1]]",
    "failing": "hi [[tokens=3 delay=0 error=500]]",
}


@pytest.mark.needs_node
@pytest.mark.parametrize("client", ["apollo", "urql", "relay"])
async def test_a_turn_streamed_into_an_open_list_equals_a_fresh_query(stack: Stack, client: str) -> None:
    agent_id = await stack.make_agent()
    await stack.give_tool(agent_id, "conversation_search")
    await stack.give_tool(agent_id, "memory_insert", approval=True)
    given = {"to": {"agentId": agent_id}, "content": [{"text": WORDS["plain"]}], "waitSeconds": 20}
    await stack.graphql(SEND, {"i": given | {"idempotencyKey": str(uuid.uuid4())}})
    arguments: dict[str, Any] = {"url": stack.url, "token": stack.token(), "agent": agent_id, "words": WORDS}
    agent, conversation, conversations, turns = await run_node(f"cache/{client}.mjs", **arguments)
    for seen in (agent, conversation, conversations):
        assert seen["cached"] == seen["fresh"], seen["what"]
        cursors = [edge["cursor"] for edge in seen["cached"]["edges"]]
        assert len(set(cursors)) == len(cursors) > 0
        assert seen["cached"]["pageInfo"]["startCursor"] == cursors[0]
        assert seen["cached"]["pageInfo"]["endCursor"] == cursors[-1]
    assert {edge["node"]["__typename"] for edge in agent["cached"]["edges"]} == {
        "SystemMessage",
        "UserMessage",
        "ReasoningMessage",
        "ToolCallMessage",
        "ToolReturnMessage",
        "AssistantMessage",
        "ApprovalRequestMessage",
        "ApprovalResponseMessage",
    }
    said = [edge["node"]["__typename"] for edge in conversation["cached"]["edges"]]
    assert said.count("UserMessage") == said.count("AssistantMessage") == 2
    assert [end["finishReason"] for end in turns["ends"]] == [
        *("END_TURN", "REQUIRES_APPROVAL", "END_TURN", "END_TURN", "END_TURN", "LLM_API_ERROR"),
    ]
    assert turns["refetches"] == 0
