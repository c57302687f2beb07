"""Create objects of a user through the gateway. Each function returns the object's id."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.documents import CREATE_CONVERSATION, INSERT_PASSAGE
from tests.support.stack import ADA, Stack

SEND = """mutation($i: SendMessageInput!) {
  sendMessage(input: $i) { errors { message } run { id } stream { id } userMessageEdge { node { id } } }
}"""

Maker = Callable[[Stack], Awaitable[str]]


async def done(stack: Stack, query: str, variables: dict[str, Any], *, user: str = ADA) -> dict[str, Any]:
    """Return the payload of a document's only mutation, which must succeed."""
    answer = await stack.graphql(query, variables, user=user)
    assert "errors" not in answer, answer
    [payload] = answer["data"].values()
    assert not payload.get("errors"), payload
    result: dict[str, Any] = payload
    return result


async def agent(stack: Stack) -> str:
    return await stack.make_agent()


async def conversation(stack: Stack) -> str:
    made = await done(stack, CREATE_CONVERSATION, {"a": await agent(stack)})
    return str(made["conversationEdge"]["node"]["id"])


async def sent(
    stack: Stack, directive: str = "tokens=2", *, agent_id: str | None = None, conversation_id: str | None = None
) -> dict[str, Any]:
    """Send a message to a new agent or in a conversation, and wait for the answer."""
    to = {"conversationId": conversation_id} if conversation_id else {"agentId": agent_id or await agent(stack)}
    content = [{"text": f"hi [[{directive}]]"}]
    asked = {"to": to, "content": content, "idempotencyKey": str(uuid.uuid4()), "waitSeconds": 20}
    return await done(stack, SEND, {"i": asked})


async def run(stack: Stack) -> str:
    return str((await sent(stack))["run"]["id"])


async def stream(stack: Stack) -> str:
    return str((await sent(stack))["stream"]["id"])


async def message(stack: Stack) -> str:
    return str((await sent(stack))["userMessageEdge"]["node"]["id"])


async def answer(stack: Stack) -> str:
    agent_id = await agent(stack)
    await sent(stack, agent_id=agent_id)
    query = "query($a: ID!) { agent(id: $a) { messages(last: 1) { nodes { id } } } }"
    return str((await stack.graphql(query, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"][0]["id"])


async def step(stack: Stack) -> str:
    query = "query($r: ID!) { run(id: $r) { steps { id } } }"
    answer = await stack.graphql(query, {"r": await run(stack)})
    return str(answer["data"]["run"]["steps"][0]["id"])


async def passages(stack: Stack, agent_id: str, *texts: str, user: str = ADA) -> list[str]:
    """Create passages of an agent, and return their ids in order."""
    ids = []
    for text in texts:
        answer = (await stack.graphql(INSERT_PASSAGE, {"a": agent_id, "t": text}, user=user))["data"]["insertPassage"]
        assert answer["errors"] == []
        ids.append(answer["passageEdges"][0]["node"]["id"])
    return ids


async def passage(stack: Stack) -> str:
    [passage_id] = await passages(stack, await agent(stack), "kept")
    return passage_id


async def block(stack: Stack) -> str:
    query = "query($a: ID!) { agent(id: $a) { memoryBlocks { id } } }"
    answer = await stack.graphql(query, {"a": await agent(stack)})
    return str(answer["data"]["agent"]["memoryBlocks"][0]["id"])


async def approval_request(stack: Stack) -> str:
    """Return an approval request of a waiting turn."""
    agent_id = await agent(stack)
    await stack.require_approval(agent_id, "memory_insert")
    await sent(stack, "tokens=2 tool=memory_insert approve=1", agent_id=agent_id)
    query = "query($a: ID!) { agent(id: $a) { messages(last: 5) { nodes { __typename id } } } }"
    nodes = (await stack.graphql(query, {"a": agent_id}))["data"]["agent"]["messages"]["nodes"]
    return next(str(node["id"]) for node in nodes if node["__typename"] == "ApprovalRequestMessage")


async def say(stack: Stack, conversation_id: str) -> None:
    asked = {
        "to": {"conversationId": conversation_id},
        "content": [{"text": "hi [[tokens=60 delay=0.05]]"}],
        "idempotencyKey": str(uuid.uuid4()),
    }
    await done(stack, SEND, {"i": asked})


async def tool(stack: Stack) -> str:
    """Return a tool of an agent. Agents of the real Letta have none by default."""
    agent_id = await agent(stack)
    await stack.require_approval(agent_id, "memory_insert")
    answer = await stack.graphql("query($a: ID!) { agent(id: $a) { tools { id } } }", {"a": agent_id})
    return str(answer["data"]["agent"]["tools"][0]["id"])
