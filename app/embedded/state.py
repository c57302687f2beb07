"""What the embedded platform knows, in memory; every change is told to the store (``app.embedded.store``)."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.embedded.store import Memory, Store

Json = dict[str, Any]

MAX_REPLAYABLE = 200
"""How many finished background runs keep their frames. The real Letta forgets them after some hours."""


def now() -> str:
    """The time as Letta writes it in its records."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def now_of_message() -> str:
    """The time as Letta writes it in messages: to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
    """An agent in Letta.

    Attributes:
        body: its answer's fields but for blocks and tools, which are looked up by their ids.
        approvals: by a tool's name, whether this agent asks before calling it, where that differs from the tool.
        pending: by scope, the call that waits for a person's decision.
        messages: by scope, groups of messages that share an id, oldest first.
    """

    body: Json
    block_ids: list[str] = field(default_factory=list)
    tool_ids: list[str] = field(default_factory=list)
    approvals: dict[str, bool] = field(default_factory=dict)
    pending: dict[str, Json] = field(default_factory=dict)
    conversations: dict[str, Json] = field(default_factory=dict)
    messages: dict[str, list[list[Json]]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """``agent-…``."""
        return str(self.body["id"])


@dataclass
class Run:
    """A run: its answer's fields, its steps, what it has said.

    Attributes:
        frames: server-sent events, in order. A background run's can be read again.
        said: the messages it has made, whole, for whoever does not stream.
        error: what a failed model call is answered with, for whoever does not stream.
        reason: why it stopped, for whoever does not stream.
        lost: it was going when the process died, and its frames went with it.
    """

    body: Json
    scope: str
    steps: list[Json] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    said: list[Json] = field(default_factory=list)
    usage: Json = field(default_factory=dict)
    error: Json | None = None
    reason: str | None = None
    over: bool = False
    lost: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """``run-…``."""
        return str(self.body["id"])

    @property
    def is_followed(self) -> bool:
        """Whether Letta writes down how it goes."""
        return bool(self.body["status"] != "created")

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
    """All of it.

    Attributes:
        templates: what ``GET /templates`` lists, by id.
        releases: a template's published versions, by ``id@version``.
        keys: LiteLLM's virtual keys, by the key itself.
        providers: those added to Letta, each with its key.
        spend: what was called and what it cost, oldest first.
        created: answers given under an idempotency key.
        upgrades: upgrades that are queued, by agent.
        marks: the platform's own notes, such as its keys and what has been seeded.
        order: which place each of Letta's messages has among all of them.
    """

    store: Store = field(default_factory=Memory)
    users: dict[str, User] = field(default_factory=dict)
    templates: dict[str, Json] = field(default_factory=dict)
    releases: dict[str, Json] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    blocks: dict[str, Json] = field(default_factory=dict)
    tools: dict[str, Json] = field(default_factory=dict)
    passages: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    models: dict[str, Json] = field(default_factory=dict)
    keys: dict[str, Json] = field(default_factory=dict)
    providers: dict[str, Json] = field(default_factory=dict)
    spend: list[Json] = field(default_factory=list)
    created: dict[str, Json] = field(default_factory=dict)
    upgrades: dict[str, Json] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    stats: ModelStats = field(default_factory=ModelStats)
    calls: list[Json] = field(default_factory=list)
    letta: str = ""
    """Where Letta is: empty for the embedded one. A user has rows for each Letta apart."""

    def conversation(self, conversation_id: str) -> tuple[Agent, Json] | None:
        """A conversation and the agent it is held with."""
        for agent in self.agents.values():
            conversation = agent.conversations.get(conversation_id)
            if conversation is not None and not conversation.get("is_deleted"):
                return agent, conversation
        return None

    def busy(self, scope: str) -> Run | None:
        """The run that a scope is busy with."""
        return next((run for run in self.runs.values() if run.scope == scope and not run.over), None)

    def mark(self, name: str, value: Any) -> None:
        """Note something down."""
        self.marks[name] = value
        self.store.put("mark", name, value)

    def keep_user(self, user: User) -> None:
        """Keep a user; the rows are kept by ``keep_rows``."""
        self.users[user.id] = user
        body = {"id": user.id, "email": user.email, "name": user.name, "shape": user.shape}
        self.store.put("user", user.id, body)

    def keep_rows(self, user: User) -> None:
        """Keep what a user has in the Letta of now."""
        self.store.put("rows", f"{user.id} {self.letta}", user.rows)

    def keep_agent(self, agent: Agent) -> None:
        """Keep an agent's own fields; conversations and messages are kept apart."""
        self.agents[agent.id] = agent
        names = ("body", "block_ids", "tool_ids", "approvals", "pending")
        self.store.put("agent", agent.id, {name: getattr(agent, name) for name in names})

    def keep_conversation(self, agent: Agent, conversation: Json) -> None:
        """Keep a conversation's fields."""
        agent.conversations[conversation["id"]] = conversation
        self.store.put("conversation", conversation["id"], conversation, agent.id)

    def add_messages(self, agent: Agent, scope: str, groups: list[list[Json]]) -> None:
        """Add groups of messages at the end of a scope."""
        agent.messages.setdefault(scope, [])
        for group in groups:
            self.take_group(agent, scope, group)
            self.keep_group(agent, scope, group)

    def take_group(self, agent: Agent, scope: str, group: list[Json]) -> None:
        """Put a group of messages at the end of a scope, without keeping it."""
        agent.messages.setdefault(scope, []).append(group)
        self.order.setdefault(group[0]["id"], len(self.order))

    def keep_group(self, agent: Agent, scope: str, group: list[Json]) -> None:
        """Keep a group of messages that is in its scope already."""
        body = {"agent_id": agent.id, "scope": scope, "group": group}
        self.store.put("message", f"{scope} {group[0]['id']}", body, scope)

    def keep(self, kind: str, shelf: dict[str, Json], key: str, body: Json, owner: str = "") -> None:
        """Keep a document of one of the plain shelves: ``state.keep("block", state.blocks, id, block)``."""
        shelf[key] = body
        self.store.put(kind, key, body, owner)

    def add_spend(self, entry: Json) -> None:
        """Note a call and its cost."""
        self.spend.append(entry)
        self.store.put("spend", entry["request_id"], entry)

    def keep_run(self, run: Run) -> None:
        """Keep a run as it stands; frames only when it is over and can be read again."""
        self.runs[run.id] = run
        names = ("body", "scope", "steps", "usage", "over", "lost")
        body = {name: getattr(run, name) for name in names}
        body["frames"] = run.frames if run.over and run.body["background"] else []
        self.store.put("run", run.id, body, str(run.body["agent_id"]))
        if run.over:
            self._forget_frames()

    def _forget_frames(self) -> None:
        replayable = [run for run in self.runs.values() if run.over and run.frames]
        for run in replayable[:-MAX_REPLAYABLE]:
            run.frames, run.lost = [], True
            self.keep_run(run)

    def drop_agent(self, agent: Agent) -> None:
        """Forget an agent with its conversations, messages, memory and runs."""
        with self.store.together():
            for scope in agent.messages:
                self.store.drop_owned(scope)
            self.store.drop_owned(agent.id)
            self.store.drop("agent", agent.id)
        del self.agents[agent.id]
        self.runs = {run_id: run for run_id, run in self.runs.items() if run.body["agent_id"] != agent.id}
        self.passages = {key: one for key, one in self.passages.items() if one["agent_id"] != agent.id}
