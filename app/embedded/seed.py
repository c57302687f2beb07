"""The embedded platform's initial users, agents and conversations. Their ids are the same in every store."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files

from app.embedded.ams.agentfile import AgentFile, prompt_of, read
from app.embedded.ams.agents import row
from app.embedded.ams.templates import Templates
from app.embedded.letta import EmbeddedLetta
from app.embedded.letta.shapes import MESSAGE, RUN, STEP, tool
from app.embedded.letta.tools import REFUND_TOOL
from app.embedded.letta.turns import otid_of
from app.embedded.litellm.keys import make_key
from app.embedded.litellm.responses import RESPONSES
from app.embedded.people import ADA, GRACE, PEOPLE
from app.embedded.state import Agent, Json, Run, State, User

_NAMESPACE = uuid.UUID("5eed5eed-0000-4000-8000-000000000000")
_EPOCH = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

CHAT_ONLY = "mistral-small"
"""The model whose provider serves completions, but not the Responses API."""
MODELS: dict[str, Json] = {
    "gpt-4o-mini": {"mode": "chat", "max_input_tokens": 128000, "cost": (1.5e-07, 6e-07), "vision": True},
    "gpt-4.1": {"mode": "chat", "max_input_tokens": 1047576, "cost": (2e-06, 8e-06), "vision": True},
    "gemini-2.5-flash": {"mode": "chat", "max_input_tokens": 1048576, "cost": (3e-07, 2.5e-06), "vision": True},
    "gpt-5-mini": {
        "mode": "chat",
        "max_input_tokens": 272000,
        "cost": (2.5e-07, 2e-06),
        "vision": True,
        "reasoning": True,
    },
    CHAT_ONLY: {"mode": "chat", "max_input_tokens": 131072, "cost": (1e-07, 3e-07), "vision": True},
    "text-embedding-3-small": {"mode": "embedding", "max_input_tokens": 8191, "cost": (2e-08, 0.0), "vision": False},
}
TEMPLATES = (
    *(("support-bot", version) for version in ("1.0.0", "1.1.0", "1.2.0")),
    *(("researcher", version) for version in ("1.0.0", "2.0.0", "2.0.1")),
    ("concierge", "1.0.0"),
)
"""The Agent Files in ``ams/seeds``, in the order of their publication."""

_AGENTS = {
    ADA: [
        ("Shop helpdesk", "support-bot", "1.2.0"),
        ("Paper trail", "researcher", "2.0.1"),
        ("Night shift", "support-bot", "1.0.0"),
    ],
    GRACE: [("Compiler historian", "researcher", "1.0.0"), ("Front desk", "support-bot", "1.2.0")],
}
_TOOLS: list[tuple[str, str, Json, bool | None]] = [
    ("conversation_search", "Search what was said before.", {"query": {"type": "string"}}, None),
    (
        "memory_insert",
        "Write into a memory block.",
        {"label": {"type": "string"}, "new_string": {"type": "string"}},
        None,
    ),
    ("find_order", "Look an order up.", {"query": {"type": "string"}}, None),
    (REFUND_TOOL, "Pay money back.", {"amount": {"type": "number"}, "reason": {"type": "string"}}, True),
]
_PASSAGES = (
    "Parcels that miss the Tuesday van leave the depot on Wednesday morning.",
    "Refunds above fifty euros are looked at twice.",
)
_COMMON: Json = {
    **dict.fromkeys(("input_cost_per_pixel", "tpm", "rpm", "itpm", "otpm", "supported_reasoning_efforts")),
    **dict.fromkeys(("supports_parallel_function_calling", "supports_web_search", "supports_url_context"), False),
    **dict.fromkeys(("supports_fast_mode", "is_public_model_group"), False),
    "supported_openai_params": ["max_tokens", "response_format", "stream", "tools", "tool_choice"],
    **dict.fromkeys(("configurable_clientside_auth_params", "health_status", "health_response_time")),
    "health_checked_at": None,
}
BUDGET_USD = 5.0
"""The budget of each user's virtual key."""

_CONVERSATIONS: list[tuple[str, list[tuple[str, str]]]] = [
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


def seed_people(state: State, user_key: str) -> None:
    """Add the users, each with a virtual key, and the templates."""
    for user_id, email, name in PEOPLE.values():
        key = f"{user_key}-{user_id}"
        make_key(state, key, user_id, key_alias=name.lower(), max_budget=BUDGET_USD)
        state.keep_user(User(user_id, email, name, key))
    templates = Templates(state)
    for template_id, version in TEMPLATES:
        templates.publish(read_seed(template_id, version), by=None)


@cache
def read_seed(template_id: str, version: str) -> AgentFile:
    """Read an Agent File from ``ams/seeds``."""
    source = files("app.embedded.ams").joinpath("seeds", f"{template_id}-{version}.yaml")
    return read(source.read_text("utf-8"))


def seed_models(state: State) -> None:
    """Add LiteLLM's models."""
    state.models = {name: _group(name, facts) for name, facts in MODELS.items()}


def seed_letta(state: State, letta: EmbeddedLetta) -> None:
    """Add Letta's tools, and each user's agents with their conversations."""
    for name, description, properties, approval in _TOOLS:
        made = tool(_id("tool", name), name, description, properties, approval=approval)
        state.keep("tool", state.tools, made["id"], made)
    for user in state.users.values():
        for number, (name, template_id, version) in enumerate(reversed(_AGENTS[user.id])):
            _add_agent(state, letta, user, name, read_seed(template_id, version), number)
        state.keep_rows(user)


def _group(name: str, facts: Json) -> Json:
    chat = facts["mode"] == "chat"
    endpoints = ["/v1/chat/completions", *([] if name == CHAT_ONLY else [RESPONSES])] if chat else ["/v1/embeddings"]
    return {
        "providers": ["openai"],
        "mode": facts["mode"],
        "max_input_tokens": float(facts["max_input_tokens"]),
        "max_output_tokens": 16384.0 if chat else None,
        "input_cost_per_token": facts["cost"][0],
        "output_cost_per_token": facts["cost"][1],
        "supports_function_calling": chat,
        "supports_vision": facts["vision"],
        "supports_reasoning": facts.get("reasoning", False),
        "supported_endpoints": endpoints,
        **_COMMON,
    }


@cache
def _id(kind: str, *parts: object) -> str:
    return f"{kind}-{uuid.uuid5(_NAMESPACE, '/'.join(map(str, parts)))}"


def _add_agent(state: State, letta: EmbeddedLetta, user: User, name: str, file: AgentFile, number: int) -> None:
    created = (_EPOCH + timedelta(days=number)).isoformat().replace("+00:00", "Z")
    agent_id, content = _id("agent", user.id, name), file.content
    agent = letta.agents.make(
        {
            "id": agent_id,
            "name": name,
            "description": file.template["description"],
            "model": "openai-proxy/" + content["engine"]["model"].split("/", 1)[-1],
            "embedding": "openai/text-embedding-3-small",
            "tags": [f"user:{user.id}"],
            "system": prompt_of(content, agent_name=name, variables={}),
            "memory_blocks": [
                {"id": _id("block", agent_id, "persona"), "label": "persona", "value": f"I am {name}, and I am brief."},
                {"id": _id("block", agent_id, "human"), "label": "human", "value": f"{user.name} prefers plain words."},
            ],
            "tools": content.get("tools"),
            "include_base_tools": False,
        }
    )
    agent.body |= {"created_at": created, "updated_at": created}
    state.keep_agent(agent)
    user.rows.insert(0, row(agent_id, created, file.template["id"], file.template["version"], {}))
    _add_passages(state, agent_id, created)
    for index, (summary, lines) in enumerate(_CONVERSATIONS):
        conversation = letta.conversations.make(agent, summary, _id("conv", agent_id, index))
        _add_messages(state, agent, conversation["id"], lines, _EPOCH + timedelta(days=number, hours=index))
    _add_messages(state, agent, agent.id, _CONVERSATIONS[number % 2][1], _EPOCH + timedelta(days=number, hours=5))


def _add_passages(state: State, agent_id: str, at: str) -> None:
    for index, text in enumerate(_PASSAGES):
        passage_id = _id("passage", agent_id, index)
        made = {"id": passage_id, "agent_id": agent_id, "text": text, "tags": None, "created_at": at}
        state.keep("passage", state.passages, passage_id, made, agent_id)


def _add_messages(state: State, agent: Agent, scope: str, lines: list[tuple[str, str]], at: datetime) -> None:
    groups: list[list[Json]] = []
    thought: Json | None = None
    turns: list[list[int]] = []
    for number, (kind, text) in enumerate(lines):
        if kind == "user":
            turns.append([])
        turns[-1].append(number)
        first = turns[-1][0]
        base: Json = {
            **MESSAGE,
            "id": _id("message", scope, number),
            "date": (at + timedelta(minutes=number)).isoformat(),
            "step_id": _id("step", scope, first),
            "run_id": _id("run", scope, first),
        }
        if kind == "reasoning":
            reasoning = {"source": "reasoner_model", "reasoning": text, "signature": None}
            thought = {"message_type": "reasoning_message", **reasoning}
            continue
        message = _message(kind, text, scope, number)
        group = [message] if thought is None else [thought, message]
        groups.append([{**base, "otid": otid_of(base["id"], n), **part} for n, part in enumerate(group)])
        thought = None
    head = agent.messages[scope][0]
    head[0]["date"] = at.isoformat()
    state.keep_group(agent, scope, head)
    state.add_messages(agent, scope, groups)
    for turn in turns:
        _add_run(state, agent, scope, turn[0], at + timedelta(minutes=turn[0]), [lines[number][1] for number in turn])
    if scope in agent.conversations:
        stamp = (at + timedelta(minutes=len(lines))).isoformat().replace("+00:00", "Z")
        dates = dict.fromkeys(("created_at", "updated_at", "last_message_at"), stamp)
        state.keep_conversation(agent, {**agent.conversations[scope], **dates})


def _add_run(state: State, agent: Agent, scope: str, first: int, at: datetime, texts: list[str]) -> None:
    """Add a run with one step for a turn. ``first`` is the index of the turn's first line in the conversation."""
    counts = {"prompt_tokens": 200 + len(texts[0]), "completion_tokens": sum(len(text) // 4 for text in texts[1:])}
    counts["total_tokens"] = sum(counts.values())
    handle, began = str(agent.body["model"]), at.isoformat().replace("+00:00", "Z")
    common = {"agent_id": agent.id, "stop_reason": "end_turn"}
    step = {**STEP, **common, **counts, "id": _id("step", scope, first), "run_id": _id("run", scope, first)}
    step |= {"model": handle.split("/", 1)[-1], "model_handle": handle, "status": "success"}
    body = {**RUN, **common, "id": step["run_id"], "status": "completed", "background": False, "created_at": began}
    body |= {
        "conversation_id": scope if scope in agent.conversations else None,
        "completed_at": (at + timedelta(seconds=2)).isoformat().removesuffix("+00:00"),
        "metadata": {"run_type": "send_message_streaming"},
        "ttft_ns": 400_000_000,
        "total_duration_ns": 2_000_000_000,
    }
    state.keep_run(Run(body, scope, steps=[step], usage=counts, over=True))


def _message(kind: str, text: str, scope: str, number: int) -> Json:
    if kind == "tool":
        call = {"name": text, "arguments": '{"customer": "me", "day": "Tuesday"}', "tool_call_id": f"call_{number}"}
        return {"message_type": "tool_call_message", "tool_call": call, "tool_calls": [call]}
    if kind == "assistant":
        return {"message_type": "assistant_message", "content": text}
    if kind == "alert":
        text = f'{{\n  "type": "system_alert",\n  "message": "{text}"\n}}'
    otid = str(uuid.uuid5(_NAMESPACE, f"{scope}{number}"))
    return {"message_type": "user_message", "content": text, "otid": otid}
