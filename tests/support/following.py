"""Follow conversations, and send messages in them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from tests.support.documents import CREATE_CONVERSATION, FOLLOW
from tests.support.doors import events
from tests.support.stack import Stack

SEND = """mutation($i: SendMessageInput!) { sendMessage(input: $i) { errors { message } run { id } stream { id } } }"""


async def conversation(stack: Stack) -> tuple[str, str]:
    """Create an agent and a conversation with it."""
    agent_id = await stack.make_agent()
    answer = await stack.graphql(CREATE_CONVERSATION, {"a": agent_id})
    return agent_id, answer["data"]["createConversation"]["conversationEdge"]["node"]["id"]


async def send(stack: Stack, conversation_id: str, directive: str, *, wait: int = 0) -> dict[str, Any]:
    to = {"conversationId": conversation_id}
    content = [{"text": f"hi [[{directive}]]"}]
    asked = {"to": to, "content": content, "idempotencyKey": str(uuid.uuid4()), "waitSeconds": wait}
    payload: dict[str, Any] = (await stack.graphql(SEND, {"i": asked}))["data"]["sendMessage"]
    assert payload["errors"] == []
    return payload


async def turn(follower: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the events of the next turn."""
    heard = []
    async for event in follower:
        heard.append(event)
        if event["__typename"] in {"StreamEnded", "ReaderDetached"}:
            break
    return heard


async def joined(
    stack: Stack, follower: AsyncIterator[dict[str, Any]], conversation_id: str, directive: str = "tokens=1"
) -> list[dict[str, Any]]:
    """Begin turns until the subscription is attached, and return the events of the last of them."""
    first = asyncio.create_task(turn(follower))
    while True:
        sent = await send(stack, conversation_id, directive, wait=20)
        if (await asyncio.wait({first}, timeout=0.5))[0]:
            break
    heard = await first
    while heard[0]["stream"]["id"] != sent["stream"]["id"]:
        heard = await turn(follower)
    return heard


async def say_past_the_gateway(stack: Stack, conversation_id: str, directive: str, *, background: bool) -> None:
    """Send a message to Letta directly, and read the answer to its end."""
    body = {
        "messages": [{"role": "user", "content": f"hi [[{directive}]]"}],
        "streaming": True,
        "stream_tokens": True,
        "background": background,
    }
    async with stack.letta() as client:
        (await client.post(f"/v1/conversations/{conversation_id}/messages", json=body)).raise_for_status()


def following(
    stack: Stack, door: str, conversation_id: str, after: str | None = None, **options: Any
) -> aclosing[AsyncGenerator[dict[str, Any], None]]:
    return aclosing(events(stack, door, FOLLOW, {"id": conversation_id, "after": after}, **options))


async def conversations(stack: Stack, agent_id: str, count: int) -> list[str]:
    """Create an agent's conversations directly in Letta."""
    async with stack.letta() as letta:
        made = [await letta.post("/v1/conversations/", params={"agent_id": agent_id}, json={}) for _ in range(count)]
    return [str(one.raise_for_status().json()["id"]) for one in made]
