"""What the embedded platform knows, in memory."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def now() -> str:
    """The time as Letta writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def new_id(kind: str) -> str:
    """A fresh Letta id."""
    return f"{kind}-{uuid.uuid4()}"


@dataclass
class User:
    """A user of AMS. ``shape`` is how ``/me`` lists the agents: ``list``, ``object`` or ``single``."""

    id: str
    email: str
    name: str
    litellm_key: str | None
    rows: list[Json] = field(default_factory=list)
    shape: str = "list"


@dataclass
class Agent:
    """An agent in Letta: its answer's fields, and its conversations' messages by scope."""

    body: Json
    conversations: dict[str, Json] = field(default_factory=dict)
    messages: dict[str, list[list[Json]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``agent-…``."""
        return str(self.body["id"])


@dataclass
class Run:
    """A run: its answer's fields, and the frames it has said."""

    body: Json
    scope: str
    frames: list[str] = field(default_factory=list)
    over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def say(self, frame: str) -> None:
        """Add a frame for whoever reads."""
        self.frames.append(frame)
        self.wake()

    def wake(self) -> None:
        """Wake whoever waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class ModelStats:
    """What the model counts. ``disconnected`` are streams that were left before their end."""

    inflight: int = 0
    total: int = 0
    disconnected: int = 0


@dataclass
class State:
    """All of it."""

    users: dict[str, User] = field(default_factory=dict)
    templates: dict[str, Json] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    models: dict[str, Json] = field(default_factory=dict)
    stats: ModelStats = field(default_factory=ModelStats)
    calls: list[Json] = field(default_factory=list)
    created: dict[str, Json] = field(default_factory=dict)

    def conversation(self, conversation_id: str) -> tuple[Agent, Json] | None:
        """A conversation and the agent it is held with."""
        for agent in self.agents.values():
            if conversation_id in agent.conversations:
                return agent, agent.conversations[conversation_id]
        return None

    def busy(self, scope: str) -> Run | None:
        """The run that a scope is busy with."""
        return next((run for run in self.runs.values() if run.scope == scope and not run.over), None)
