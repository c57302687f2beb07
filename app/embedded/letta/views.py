"""An agent's JSON representation, and the first message of the agent's conversations."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from app.embedded.letta.shapes import MESSAGE
from app.embedded.state import Agent, Json, State, new_id, now_of_message


def view(state: State, agent: Agent, include: frozenset[str] | None = None) -> Json:
    """Return an agent's JSON representation. If ``include`` is given, leave all other relations empty."""

    def filled(name: str, value: Any, empty: Any) -> Any:
        return value if include is None or name in include else empty

    blocks = filled("blocks", [state.blocks[one] for one in agent.block_ids if one in state.blocks], [])
    pending = agent.pending.get(agent.id)
    return {
        **agent.body,
        "message_ids": [group[0]["id"] for group in agent.messages.get(agent.id, [])],
        "memory": {
            "agent_type": agent.body["agent_type"],
            "git_enabled": False,
            "blocks": blocks,
            "file_blocks": [],
            "prompt_template": "",
        },
        "blocks": blocks,
        "tools": filled("tools", [state.tools[one] for one in agent.tool_ids if one in state.tools], []),
        "tags": filled("tags", agent.body["tags"], []),
        "pending_approval": filled("pending_approval", pending["request"] if pending else None, None),
    }


def system_message(agent: Agent) -> Json:
    """Make the first message of a conversation."""
    fields = {"id": new_id("message"), "date": now_of_message(), "message_type": "system_message"}
    return {**MESSAGE, **fields, "content": agent.body["system"]}


def include_of(request: Request) -> frozenset[str]:
    """Return the relations that a request includes."""
    return frozenset(name.removeprefix("agent.") for name in request.query_params.getlist("include"))
