"""The static answers of AMS and Letta: one user with agents, their messages, runs and steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.embedded.people import ADA

AGENTS, MESSAGES = 50, 20
MESSAGES_PER_RUN = 2
CREATED = "2026-01-01T00:00:00Z"


def agent_ids(number: int = AGENTS) -> list[str]:
    """Return the ids of the user's agents."""
    return [f"agent-{agent:08d}-0000-4000-8000-000000000000" for agent in range(number)]


def agent(agent_id: str) -> dict[str, Any]:
    """Return Letta's record of an agent. As in Letta, ``memory`` repeats ``blocks``."""
    blocks = [
        {"id": f"block-{agent_id[6:-1]}{number}", "label": label, "value": "I know things. " * 10, "limit": 5000}
        for number, label in enumerate(("persona", "human"))
    ]
    return {
        "id": agent_id,
        "name": f"Agent {agent_id}",
        "description": "A helpful agent",
        "agent_type": "memgpt_v2_agent",
        "model": "openai/gpt-4o-mini",
        "embedding": "openai/text-embedding-3-small",
        "system": "You are helpful. " * 40,
        "tags": ["support"],
        "created_at": CREATED,
        "updated_at": CREATED,
        "llm_config": {"model": "gpt-4o-mini", "model_endpoint_type": "openai", "context_window": 32000},
        "blocks": blocks,
        "memory": {"blocks": blocks},
        "tools": [
            {"id": f"tool-{agent_id[6:-1]}{number}", "name": name, "description": "x" * 80}
            for number, name in enumerate(("send_message", "search"))
        ],
    }


def messages(agent_id: str) -> list[dict[str, Any]]:
    """Return Letta's records of an agent's last messages, oldest first."""
    return [
        {
            "id": _id("message", agent_id, number),
            "date": f"2026-01-01T00:00:{number:02d}Z",
            "message_type": "assistant_message" if number % 2 else "user_message",
            "content": f"message {number} of {agent_id}: " + "lorem ipsum dolor " * 6,
            "otid": None,
            "sender_id": None,
            "step_id": _id("step", agent_id, number // MESSAGES_PER_RUN),
            "run_id": _id("run", agent_id, number // MESSAGES_PER_RUN),
        }
        for number in range(MESSAGES)
    ]


def _id(kind: str, agent_id: str, number: int) -> str:
    return f"{kind}-{number:08d}-0000-4000-8000-{int(agent_id[6:14]):012d}"


def account(number: int = AGENTS) -> dict[str, Any]:
    """Return AMS's answer to ``GET /me``."""
    return {
        "id": ADA,
        "email": "ada@example.com",
        "name": "Ada",
        "litellm_key": "sk-bench",
        "letta_agent_id": agent_ids()[0],
        "agent_status": "registered",
        "created_at": CREATED,
        "updated_at": CREATED,
        "profile_exists": True,
        "agents": [
            {
                "agent_id": one,
                "template_id": "support-bot",
                "version": "1.2.0",
                "created_at": CREATED,
                "updated_at": CREATED,
            }
            for one in agent_ids(number)
        ],
    }


def runs_and_steps(agent_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the paths and Letta's records of the runs and steps to which an agent's messages refer."""
    for number in range(MESSAGES // MESSAGES_PER_RUN):
        run, step = _id("run", agent_id, number), _id("step", agent_id, number)
        times = {"created_at": CREATED, "completed_at": CREATED}
        yield f"runs/{run}", {"id": run, "agent_id": agent_id, "status": "completed", **times}
        yield f"steps/{step}", {"id": step, "run_id": run, "agent_id": agent_id, "status": "success"}


def models() -> dict[str, Any]:
    """Return LiteLLM's answer to ``GET /v1/models``."""
    ids = [f"model-{number}" for number in range(20)]
    return {
        "data": [{"id": one, "object": "model", "created": 1, "owned_by": "openai"} for one in ids],
        "object": "list",
    }
