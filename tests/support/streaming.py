"""Inputs of streamed answers, their expected texts, and the texts of their events."""

from __future__ import annotations

from typing import Any

from tests.support.stack import Stack, until


def text_of(events: list[dict[str, Any]]) -> str:
    """Join the deltas of events."""
    return "".join(event["text"] for event in events if event["__typename"] == "TextDelta")


def expected(tokens: int) -> str:
    """Return the text of a scripted answer."""
    return " ".join(f"tok{number}" for number in range(tokens))


def completion(stack: Stack, directive: str, **more: object) -> dict[str, Any]:
    """Return a ``CompletionInput``."""
    return {"model": stack.chat_model, "messages": [{"role": "USER", "content": f"hi [[{directive}]]"}], **more}


def message_input(agent_id: str, directive: str = "tokens=3 delay=0", **more: Any) -> dict[str, Any]:
    """Return a ``SendMessageInput``."""
    return {"to": {"agentId": agent_id}, "content": [{"text": f"hi [[{directive}]]"}], **more}


async def upstream_closed(stack: Stack, before: dict[str, int]) -> None:
    """Wait until the model has lost a client, and has as many requests in flight as before."""

    async def closed() -> bool:
        now = await stack.model_stats()
        return now["disconnected"] == before["disconnected"] + 1 and now["inflight"] == before["inflight"]

    await until(closed)


def stored_messages(stack: Stack, agent_id: str) -> list[dict[str, Any]]:
    """Return the user messages in the agent's default conversation that the embedded Letta has stored."""
    groups = stack.platform.state.agents[agent_id].messages[agent_id]
    return [message for group in groups for message in group if message["message_type"] == "user_message"]
