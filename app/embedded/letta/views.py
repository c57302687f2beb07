"""An agent as Letta answers it, and the message its conversations begin with."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from app.embedded.state import Agent, Json, State, new_id, now_of_message


def view(state: State, agent: Agent, include: frozenset[str] | None = None) -> Json:
    """An agent's answer. Without ``include`` it is whole, as after a change; with it, only what is named is there."""

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
    """The message that every conversation begins with."""
    return {
        "id": new_id("message"),
        "date": now_of_message(),
        "name": None,
        "message_type": "system_message",
        "otid": None,
        "sender_id": None,
        "step_id": None,
        "is_err": None,
        "seq_id": None,
        "run_id": None,
        "content": agent.body["system"],
    }


def include_of(request: Request) -> frozenset[str]:
    """What a request wants filled in."""
    return frozenset(name.removeprefix("agent.") for name in request.query_params.getlist("include"))
