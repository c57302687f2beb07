"""What the graph shows of an agent to which a client of OpenAI's API talks."""

from __future__ import annotations

import uuid

from tests.support import things
from tests.support.documents import CREATE_CONVERSATION
from tests.support.stack import Stack

MESSAGES = """query($c: ID!) { conversation(id: $c) { messages(last: 20) { nodes { __typename text
  ... on UserMessage { images { url } } } } } }"""
RUNS = "query($a: ID!) { agent(id: $a) { runs(first: 5) { nodes { status } } } }"


async def said(stack: Stack, conversation_id: str) -> list[str]:
    """Return the texts of the user's messages in a conversation."""
    answer = await stack.graphql(MESSAGES, {"c": conversation_id})
    nodes = answer["data"]["conversation"]["messages"]["nodes"]
    return [node["text"] for node in nodes if node["__typename"] == "UserMessage"]


async def statuses(stack: Stack, agent_id: str) -> list[str]:
    answer = await stack.graphql(RUNS, {"a": agent_id})
    return [run["status"] for run in answer["data"]["agent"]["runs"]["nodes"]]


async def new_conversation(stack: Stack, agent_id: str) -> str:
    made = await things.done(stack, CREATE_CONVERSATION, {"a": agent_id, "s": None, "k": str(uuid.uuid4())})
    return str(made["conversation"]["id"])
