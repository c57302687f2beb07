"""The people, agents and conversations that the embedded platform begins with: worth looking at, and fixed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from app.embedded.letta import EmbeddedLetta
from app.embedded.state import Agent, Json, State, User
from app.embedded.turns import otid_of

ADA = "a0a0a0a0-1111-4111-8111-000000000001"
GRACE = "b0b0b0b0-2222-4222-8222-000000000002"
PEOPLE = {"ada": (ADA, "ada@example.com", "Ada"), "grace": (GRACE, "grace@example.com", "Grace")}

_NAMESPACE = uuid.UUID("5eed5eed-0000-4000-8000-000000000000")
_EPOCH = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

MODELS: dict[str, Json] = {
    "gpt-4o-mini": {"mode": "chat", "max_input_tokens": 128000, "cost": (1.5e-07, 6e-07), "vision": True},
    "gpt-4.1": {"mode": "chat", "max_input_tokens": 1047576, "cost": (2e-06, 8e-06), "vision": True},
    "gemini-2.5-flash": {"mode": "chat", "max_input_tokens": 1048576, "cost": (3e-07, 2.5e-06), "vision": True},
    "text-embedding-3-small": {"mode": "embedding", "max_input_tokens": 8191, "cost": (2e-08, 0.0), "vision": False},
}
TEMPLATES: list[Json] = [
    {
        "id": "support-bot",
        "name": "Support bot",
        "description": "Answers customers' questions and knows when to ask a person.",
        "latest_version": "1.2.0",
        "versions": ["1.0.0", "1.1.0", "1.2.0"],
        "is_public": True,
        "tags": ["support"],
        "model": "gpt-4o-mini",
    },
    {
        "id": "researcher",
        "name": "Researcher",
        "description": "Reads widely, keeps notes, and says where each fact comes from.",
        "latest_version": "2.0.1",
        "versions": ["1.0.0", "2.0.0", "2.0.1"],
        "is_public": True,
        "tags": ["research"],
        "model": "gpt-4.1",
    },
]
_AGENTS = {
    ADA: [("Shop helpdesk", "support-bot"), ("Paper trail", "researcher"), ("Night shift", "support-bot")],
    GRACE: [("Compiler historian", "researcher"), ("Front desk", "support-bot")],
}
_TALKS: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "Where is my parcel?",
        [
            ("user", "My parcel should have come on Tuesday. Can you find it?"),
            ("reasoning", "An order number would help, but the name and the day may be enough."),
            ("tool", "find_order"),
            ("assistant", "Found it: it left the depot this morning and should be with you before six."),
            ("user", "Thank you. Can it go to the neighbour at number 12?"),
            ("assistant", "Done. The driver will ring at number 12 and leave a card in your letter box."),
        ],
    ),
    (
        "Summary for the Monday meeting",
        [
            ("user", "What should I tell the team on Monday?"),
            ("assistant", "Three things: the backlog is down by a fifth, returns are flat, and the new form works."),
            ("alert", "Note: prior messages have been hidden from view due to conversation memory constraints."),
            ("user", "And the one risk?"),
            ("assistant", "The carrier's holiday schedule: two days without pick-ups, and nobody has told customers."),
        ],
    ),
]


def people(litellm_keys: dict[str, str | None]) -> dict[str, User]:
    """The users by id, each with the virtual key that pays for them."""
    return {uid: User(uid, email, name, litellm_keys.get(uid)) for uid, email, name in PEOPLE.values()}


def seed(state: State, letta: EmbeddedLetta | None) -> None:
    """Fill an empty platform; without a Letta of our own, everything but agents."""
    state.templates = {template["id"]: template for template in TEMPLATES}
    state.models = {name: _group(facts) for name, facts in MODELS.items()}
    if letta is None:
        return
    for user in state.users.values():
        for number, (name, template_id) in enumerate(reversed(_AGENTS[user.id])):
            _agent(letta, user, name, state.templates[template_id], number)


def _group(facts: Json) -> Json:
    chat = facts["mode"] == "chat"
    return {
        "providers": ["openai"],
        "mode": facts["mode"],
        "max_input_tokens": float(facts["max_input_tokens"]),
        "max_output_tokens": 16384.0 if chat else None,
        "input_cost_per_token": facts["cost"][0],
        "output_cost_per_token": facts["cost"][1],
        "supports_function_calling": chat,
        "supports_vision": facts["vision"],
        "supports_reasoning": False,
    }


def _id(kind: str, *parts: object) -> str:
    """The same id at every start."""
    return f"{kind}-{uuid.uuid5(_NAMESPACE, '/'.join(map(str, parts)))}"


def _agent(letta: EmbeddedLetta, user: User, name: str, template: Json, number: int) -> None:
    created = (_EPOCH + timedelta(days=number)).isoformat().replace("+00:00", "Z")
    agent_id = _id("agent", user.id, name)
    agent = letta.make_agent(
        {
            "id": agent_id,
            "name": name,
            "description": template["description"],
            "model": f"openai-proxy/{template['model']}",
            "embedding": "openai/text-embedding-3-small",
            "tags": [f"user:{user.id}"],
            "system": f"You are {name}. {template['description']}",
            "memory_blocks": [
                {"id": _id("block", agent_id, "persona"), "label": "persona", "value": f"I am {name}, and I am brief."},
                {"id": _id("block", agent_id, "human"), "label": "human", "value": f"{user.name} prefers plain words."},
            ],
            "tools": [{"id": _id("tool", "find_order"), "name": "find_order", "description": "Look an order up."}],
        }
    )
    agent.body |= {"created_at": created, "updated_at": created}
    row = {"agent_id": agent_id, "template_id": template["id"], "version": template["latest_version"]}
    user.rows.insert(0, {**row, "created_at": created, "updated_at": created})
    for index, (summary, lines) in enumerate(_TALKS):
        conversation = letta.make_conversation(agent, summary, _id("conv", agent_id, index))
        _talk(agent, conversation["id"], lines, _EPOCH + timedelta(days=number, hours=index))
    _talk(agent, agent.id, _TALKS[number % 2][1], _EPOCH + timedelta(days=number, hours=5))


def _talk(agent: Agent, scope: str, lines: list[tuple[str, str]], at: datetime) -> None:
    groups: list[list[Json]] = []
    thought: Json | None = None
    for number, (kind, text) in enumerate(lines):
        base: Json = {
            "id": _id("message", scope, number),
            "date": (at + timedelta(minutes=number)).isoformat(),
            "step_id": _id("step", scope, number),
            "run_id": None,
        }
        if kind == "reasoning":
            thought = {"message_type": "reasoning_message", "reasoning": text}
            continue
        said = _said(kind, text, scope, number)
        group = [said] if thought is None else [thought, said]
        groups.append([{**base, "otid": otid_of(base["id"], n), **part} for n, part in enumerate(group)])
        thought = None
    agent.messages[scope][0][0]["date"] = at.isoformat()
    agent.messages[scope] += groups
    if scope in agent.conversations:
        stamp = (at + timedelta(minutes=len(lines))).isoformat().replace("+00:00", "Z")
        agent.conversations[scope] |= {"created_at": stamp, "updated_at": stamp, "last_message_at": stamp}


def _said(kind: str, text: str, scope: str, number: int) -> Json:
    if kind == "tool":
        call = {"name": text, "arguments": '{"customer": "me", "day": "Tuesday"}', "tool_call_id": f"call_{number}"}
        return {"message_type": "tool_call_message", "tool_call": call, "tool_calls": [call]}
    if kind == "alert":
        alert = f'{{\n  "type": "system_alert",\n  "message": "{text}"\n}}'
        return {
            "message_type": "user_message",
            "content": alert,
            "otid": str(uuid.uuid5(_NAMESPACE, f"{scope}{number}")),
        }
    if kind == "user":
        return {
            "message_type": "user_message",
            "content": text,
            "otid": str(uuid.uuid5(_NAMESPACE, f"{scope}{number}")),
        }
    return {"message_type": "assistant_message", "content": text}
